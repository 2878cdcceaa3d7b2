"""The check of every row of an input: what may be called, and what never is."""

import hashlib
from collections import Counter
from typing import Any

import polars as pl

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.input.check import (
    FAULTS,
    INVALID_SHOWN,
    NO_INSTANCE,
    NO_REGION,
    PROTECTED_CA,
    PROTECTED_DEVICE,
    ROUNDED,
    WRONG_INSTANCE,
    WRONG_REGION,
    Check,
    SerialProblem,
    faults,
    problems,
)
from bulkcert.input.columns import InstanceSource
from bulkcert.input.protect import Protection
from bulkcert.input.records import Part
from bulkcert.service.actions import JOINT, of_ca_key
from bulkcert.service.regions import INSTANCE_ID, REGIONS
from bulkcert.words import printable

CAS_KEPT = 100_000
"""CAs whose rows are counted each for itself."""
SHARE_ROWS = 500_000
"""Rows among which duplicates are searched at a time, about."""
MOST_INSTANCES = 1000
"""Instances that a list may name: with more, the column is likely to be another one's."""

_NO_FAULTS = pl.DataFrame(schema={"row": pl.UInt32, "fault": pl.UInt8})
_NO_KEYS = pl.DataFrame(schema={"row": pl.UInt32, "one": pl.UInt64, "two": pl.UInt64})
_IS_PROTECTED = pl.col("fault").is_in([PROTECTED_DEVICE, PROTECTED_CA])
_EXPORT_AS_TEXT = "Export the list again with this column as text, best straight from the registry"


class Findings:
    """What was found so far.

    Args:
        protection: The list of what must not be called, or None.
        source: Where it is said which instance a row is of; None where that does not matter.
        trust_serials: Whether serials that all look like rounded numbers are taken as they are.

    Attributes:
        source: As given.
        columns: The columns that together say which certificate is meant, that of the CA last, once they are known.
        instance_columns: The columns of instances and regions, and
        by_row: those of them that rows go by; see ``find_instances``.
        rows: Rows so far.
    """

    def __init__(self, protection: Protection | None, source: InstanceSource | None, *, trust_serials: bool) -> None:
        self.source = source
        self.columns: tuple[str, ...] = ()
        self.instance_columns: tuple[str | None, str | None] = (None, None)
        self.by_row: tuple[str | None, str | None] = (None, None)
        self._given = (source.instance, source.region) if source is not None else ("", "")
        # Those that were named, each with its region; an empty text where no column says that.
        self._regions = dict[str, str]()
        self._instance_digest = hashlib.sha256()
        self._protection = protection
        self._protected_by = printable(protection.path.name) if protection else ""
        self._digest = hashlib.sha256()
        self.rows = 0
        self._left_out, self._hashes = [_NO_FAULTS], [_NO_KEYS]
        self._first_invalid, self._first_protected = list[str](), list[str]()
        self._rows_by_ca = Counter[str]()
        self._trusts_serials = trust_serials
        # The columns in which every serial so far looks like a number that has lost its last digits, with what to
        # report of the first one; and the columns in which one does not.
        self._suspects, self._exact = dict[str, str](), set[str]()

    def add(self, keys: pl.DataFrame, part: Part) -> None:
        """Takes in the next rows.

        Args:
            keys: Their serials, and what names their instances, as text.
            part: Where they stand.

        Raises:
            BulkcertError: INPUT_INVALID: a spreadsheet has changed the serials, or the instances contradict something.
        """
        named, keys = keys, keys.select(self.columns)
        fault = pl.Series("fault", [SerialProblem.NONE], dtype=pl.UInt8).new_from_index(0, keys.height)
        for serials in keys:
            found = faults(serials)
            self._refuse_changed(part, serials, found)
            fault = fault * FAULTS + found
        if any(self.instance_columns):
            fault = self._placed(named, part, fault)
        rows = pl.int_range(self.rows + 1, self.rows + keys.height + 1, dtype=pl.UInt32, eager=True).alias("row")
        valid = fault == SerialProblem.NONE
        joined = _digested(keys, self._digest)
        if self._protection:
            by_device, by_ca = self._protection.hits(keys)
            code = PROTECTED_CA - by_device.cast(pl.UInt8)  # one less where it is the device
            fault = code.zip_with(valid & (by_device | by_ca), fault)
        cas = keys[self.columns[-1]]
        if (instance := self.by_row[0]) is not None:
            places = filter(None, self.instance_columns)
            joined = _digested(named.select(joined, *places), self._instance_digest)
            cas = named.select(pl.concat_str([self.columns[-1], instance], separator=JOINT)).to_series()
        free = fault == SerialProblem.NONE
        if not free.all():
            self._leave_out(pl.DataFrame([rows, fault.alias("fault")]).filter(~free), named, part)
            rows, cas, joined = rows.filter(free), cas.filter(free), joined.filter(free)
        # Two hashes with different seeds, 20 bytes a row with its number. Two different keys are taken for one only
        # where both agree: among 10 million keys the odds are about 1 in 7e24 (n * n / 2 ** 129), far below those of
        # a memory error.
        self._hashes.append(pl.DataFrame({"row": rows, "one": joined.hash(seed=1), "two": joined.hash(seed=2)}))
        self._count(cas)
        self.rows += part.frame.height

    def check(self, sha256: str) -> Check:
        """Returns the findings, now that all rows are in.

        Raises:
            BulkcertError: INPUT_INVALID: a spreadsheet has rounded the serials, or devices are to be protected from
                an action on CAs, and nothing says under which CA they are.
        """
        if suspect := next(iter(self._suspects.values()), ""):
            advice = f"{_EXPORT_AS_TEXT}; or give --trust-serials if these are the true serials."
            raise _changed(suspect, "every serial ends in zeros after its fifteenth digit", advice)
        protection, duplicates = self._protection, _duplicates(pl.concat(self._hashes, rechunk=False))
        left_out = pl.concat(self._left_out)
        protected = left_out.filter(_IS_PROTECTED)
        settled = pl.concat([duplicates.with_columns(fault=pl.lit(0, pl.UInt8)), left_out], how="diagonal").sort("row")
        cas = dict(sorted(self._rows_by_ca.items(), key=lambda ca: (-ca[1], ca[0])))
        if len(self._regions) > 1:
            self._digest.update(self._instance_digest.digest())
        else:
            cas = {of_ca_key(ca)[0]: rows for ca, rows in cas.items()}
        protected_cas = protection.protected_cas() if protection else ()
        return Check(
            columns=self.columns,
            rows=self.rows,
            sha256=sha256,
            keys_sha256=self._digest.hexdigest(),
            invalid=left_out.height - protected.height,
            duplicates=duplicates.height,
            protected=protected.height,
            first_invalid=tuple(self._first_invalid),
            first_protected=tuple(self._first_protected),
            settled=settled,
            rows_by_ca=cas,
            protected_by=self._protected_by,
            protection=f"{self._protected_by}: {protection.describe(protected.height)}" if protection else "",
            protected_cas=frozenset(ca for ca in cas if of_ca_key(ca)[0] in protected_cas),
            unplaced=protection.unplaced() if protection else 0,
            mistaken=protection.mistaken() if protection else (),
            instances=self._regions,
            instance_columns=self.instance_columns,
        )

    def _placed(self, frame: pl.DataFrame, part: Part, fault: pl.Series) -> pl.Series:
        """Returns the faults of rows with those of their instances, and takes note of the instances of the others.

        Raises:
            BulkcertError: INPUT_INVALID: a row says something else than an option, an instance is in two regions, or
                there are too many.
        """
        for column, given in zip(self.instance_columns, self._given, strict=True):
            if column is not None and given:
                _confirm_given(frame[column], given, part)
        (instance, region), found = self.by_row, list[pl.Expr]()
        if instance is not None:
            unfit = ~pl.col(instance).str.contains(f"^{INSTANCE_ID}$")
            found.append(pl.when(_is_blank(instance)).then(NO_INSTANCE).when(unfit).then(WRONG_INSTANCE))
        if region is not None:
            unfit = ~pl.col(region).is_in(REGIONS)
            found.append(pl.when(_is_blank(region)).then(NO_REGION).when(unfit).then(WRONG_REGION))
        if found:
            of_place = frame.select(pl.coalesce(*found, 0).cast(pl.UInt8).alias("fault")).to_series()
            fault = of_place.zip_with(fault == SerialProblem.NONE, fault)
            self._note(frame.filter(fault == SerialProblem.NONE), part.file)
        return fault

    def _note(self, frame: pl.DataFrame, file: str) -> None:
        """Takes note of the instances of rows without a fault; see ``_placed``."""
        instance, region = self.by_row
        names = pl.lit(self._given[0]) if instance is None else pl.col(instance)
        regions = pl.lit("") if region is None else pl.col(region)
        pairs = frame.select(names.alias("instance"), regions.alias("region")).unique(maintain_order=True)
        for name, found in pairs.iter_rows():
            before = self._regions.setdefault(name, found)
            if before != found:
                said = f"{file}: the instance {name} is in two regions, {before} and {found}"
                raise BulkcertError(ExitStatus.INPUT_INVALID, said, "An instance is in one region: correct the list.")
        if len(self._regions) > MOST_INSTANCES:
            said = f"{file}: column {printable(instance or '')} names more than {MOST_INSTANCES:,} instances"
            raise BulkcertError(ExitStatus.INPUT_INVALID, said, "Name the right one with --instance-column.")

    def _refuse_changed(self, part: Part, serials: pl.Series, found: pl.Series) -> None:
        changed = found == SerialProblem.NUMBER
        if changed.any():
            place = _place(part, serials, changed.arg_max() or 0)
            raise _changed(place, "this one is a number as spreadsheets write it", f"{_EXPORT_AS_TEXT}.")
        if self._trusts_serials or serials.name in self._exact:
            return
        nonblank = found != SerialProblem.BLANK
        if not serials.filter(nonblank).str.contains(ROUNDED).all():
            self._exact.add(serials.name)
            self._suspects.pop(serials.name, None)
        elif nonblank.any():
            self._suspects.setdefault(serials.name, _place(part, serials, nonblank.arg_max() or 0))

    def _leave_out(self, found: pl.DataFrame, keys: pl.DataFrame, part: Part) -> None:
        """Notes rows that are not called, and the first of them with what is to be shown."""
        self._left_out.append(found)
        for first, kind in ((self._first_invalid, ~_IS_PROTECTED), (self._first_protected, _IS_PROTECTED)):
            for row, code in found.filter(kind).head(INVALID_SHOWN - len(first)).iter_rows():
                index = row - self.rows - 1
                column, reason = problems(code, self.columns, self.instance_columns, self._protected_by)[0]
                value = printable(keys[column][index] or "")
                place = f"{part.file}:{part.line(index) or part.row + index}"
                first.append(f"{place}: {column} {reason}" + f" ({value})" * (value != ""))

    def _count(self, cas: pl.Series) -> None:
        for ca, rows in cas.value_counts(sort=False).iter_rows():
            if ca in self._rows_by_ca or len(self._rows_by_ca) < CAS_KEPT:
                self._rows_by_ca[ca] += rows


def _digested(keys: pl.DataFrame, digest: Any) -> pl.Series:
    """Returns one text for each row, after a digest has taken them in."""
    joined = keys.select(pl.concat_str(pl.all().fill_null(""), separator=JOINT)).to_series()
    if keys.height:
        digest.update(joined.str.join("\n").cast(pl.Binary).item())
        digest.update(b"\n")
    return joined


def _place(part: Part, serials: pl.Series, index: int) -> str:
    return f"{part.place(index)}, column {printable(serials.name)}: {printable(serials[index])}"


def _changed(where: str, reason: str, advice: str) -> BulkcertError:
    message = f"{where}: a spreadsheet has changed the serials: {reason}"
    return BulkcertError(ExitStatus.INPUT_INVALID, message, advice)


def _duplicates(hashes: pl.DataFrame) -> pl.DataFrame:
    """Returns each row that repeats an earlier one and the first such row: ``row``, ``first_row``; unordered."""
    parts = 1 + hashes.height // SHARE_ROWS
    shares = (hashes.filter(pl.col("one") % parts == part) for part in range(parts))
    repeated = [share for share in shares if share["one"].n_unique() < share.height]
    # Sorting brings the rows of a key together, its first row first; measured, it is far cheaper than grouping.
    new = (pl.col("one") != pl.col("one").shift()) | (pl.col("two") != pl.col("two").shift())
    first = pl.when(new.fill_null(value=True)).then("row").forward_fill()
    found = [share.sort("one", "two", "row").select("row", first_row=first) for share in [_NO_KEYS, *repeated]]
    return pl.concat(found).filter(pl.col("row") != pl.col("first_row"))


def _is_blank(column: str) -> pl.Expr:
    return pl.col(column).is_null() | (pl.col(column).str.strip_chars() == "")


def _confirm_given(found: pl.Series, given: str, part: Part) -> None:
    """Confirms that what rows say, as far as they say anything, is what an option says.

    Raises:
        BulkcertError: INPUT_INVALID: it is not.
    """
    other = found.to_frame().select(~_is_blank(found.name) & (pl.col(found.name) != given)).to_series()
    if other.fill_null(value=False).any():
        said = f"{_place(part, found, other.arg_max() or 0)}, and not {given}"
        advice = "The option says otherwise: leave it out to go by the column, or correct the list."
        raise BulkcertError(ExitStatus.INPUT_INVALID, f"{said}; no calls were made", advice)

"""Loading an input: its files are read once, checked row by row, and pinned as one Parquet file."""

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.input.checked import Check
from bulkcert.input.columns import confirm_header, find_keys, matching
from bulkcert.input.files import Kind, expand
from bulkcert.input.findings import Findings
from bulkcert.input.pinned import OWN_PREFIX, PinnedList
from bulkcert.input.pinning import Pinning, common_types
from bulkcert.input.places import Places
from bulkcert.input.protection import Protection, Search
from bulkcert.input.table import Table, open_table
from bulkcert.words import printable


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What the rows of an input mean.

    Attributes:
        by_device: Whether a row means a device certificate (``DeviceSn`` and ``CaSn``) or a CA (``CaSn`` or ``Sn``).
        device_column: Exact name of the column of the device serials, or None to look for it.
        ca_column: Exact name of the column of the CA serials, or None to look for it.
        trust_serials: Whether serials that all look like rounded numbers are taken as they are.
        protection: The rows that must not be called, or None.
    """

    by_device: bool
    device_column: str | None
    ca_column: str | None
    trust_serials: bool
    protection: Protection | None

    def keys(self, place: str, columns: Sequence[str]) -> tuple[str, ...]:
        """Returns the columns that together say which certificate is meant, that of the CA last.

        Raises:
            BulkcertError: INPUT_INVALID: they are not found for certain.
        """
        return find_keys(
            place,
            columns,
            by_device=self.by_device,
            device_column=self.device_column,
            ca_column=self.ca_column,
        )

    def devices_beside(self, columns: Sequence[str], ca: str) -> list[str]:
        """Returns, for an action on CAs, the columns of devices whose protection is that of their CA."""
        if self.by_device or self.protection is None or not len(self.protection.device_serials):
            return []
        found = [self.device_column] if self.device_column in columns else matching(columns, "DeviceSn")
        return [column for column in found if column is not None and column != ca]


@dataclass(slots=True)
class _Loading:
    """An input that is being read.

    Attributes:
        wanted: What its rows mean.
        pinning: Where they go.
        on_progress: Told their number so far, from time to time.
        types: Types of the columns so far; where files differ, those of the first one.
        files: What messages call each file, and the number of its first row.
        kinds: Kinds of the files that had columns.
        rows: Rows so far.
        keys: The columns of the serials, once they are known.
        tables: The files, which know of columns that are not text.
        findings: What the rows come to; None where they are judged once all of them were read.
        places: Where they stand, for that.
    """

    wanted: _Wanted
    pinning: Pinning
    on_progress: Callable[[int], None] | None
    types: dict[str, pl.DataType] = field(default_factory=dict)
    files: list[tuple[str, int]] = field(default_factory=list)
    kinds: set[Kind] = field(default_factory=set)
    rows: int = 0
    keys: tuple[str, ...] = ()
    tables: list[Table] = field(default_factory=list)
    findings: Findings | None = None
    places: Places = field(default_factory=Places)

    def take(self, table: Table) -> None:
        """Takes in a file.

        Raises:
            BulkcertError: INPUT_INVALID; INPUT_UNREADABLE; CANNOT_WRITE.
        """
        self.files.append((table.name, self.rows + 1))
        self.tables.append(table)
        if table.kind != "ndjson":
            self._open(table)
        for part in table.parts:
            if table.kind == "ndjson":
                self._widen(table)
            frame = self._whole(part.frame)
            self.pinning.write(frame)
            if self.findings is None:
                self.places.add(self.rows + 1, part)
            else:
                for column in self.keys:
                    table.confirm_text(column)
                self.findings.add(frame, part.places)
            self.rows += frame.height
            if self.on_progress:
                self.on_progress(self.rows)

    def _open(self, table: Table) -> None:
        """Confirms that a file whose columns are known has those of the files before it."""
        if table.kind == "csv":
            confirm_header(table.name, table.columns, (self.wanted.device_column, self.wanted.ca_column))
        if not self.types:
            self.types = dict(table.types)
            self._find_keys(table)
        elif set(table.columns) != set(self.types) or (self.kinds != {"ndjson"} and table.columns != (*self.types,)):
            raise self._differs(table, table.columns)
        else:
            self._confirm_types(table)
        self.kinds.add(table.kind)
        for column in self.keys:
            table.confirm_text(column)

    def _find_keys(self, table: Table) -> None:
        _refuse_own(table.name, table.columns)
        self.keys = self.wanted.keys(table.name, table.columns)
        if not self.wanted.devices_beside(table.columns, self.keys[-1]):
            self.findings = self._judging()
        self.pinning.write(pl.DataFrame(schema=table.types))

    def _judging(self, beside: Sequence[str] = ()) -> Findings:
        wanted = self.wanted
        search = Search(wanted.protection) if wanted.protection else None
        return Findings(self.keys, search, beside, trust_serials=wanted.trust_serials)

    def _widen(self, table: Table) -> None:
        """Takes in the columns of NDJSON so far; they may come late, and some may not come at all."""
        new = {name: kind for name, kind in table.types.items() if name not in self.types}
        if new and self.kinds - {"ndjson"}:
            raise self._differs(table, table.columns)
        self.types |= new
        self.kinds.add("ndjson")
        if not self.types:
            self.wanted.keys(table.name, ())

    def _whole(self, frame: pl.DataFrame) -> pl.DataFrame:
        if (*frame.columns,) == (*self.types,):
            return frame
        return frame.select(
            pl.col(name) if name in frame.columns else pl.lit(None, kind).alias(name)
            for name, kind in self.types.items()
        )

    def finish(self, path: Path, sha256: str) -> tuple[PinnedList, Check]:
        """Completes the pinned list, and judges the rows that were not judged when they were read.

        Raises:
            BulkcertError: INPUT_INVALID; CANNOT_WRITE.
        """
        name = self.files[0][0]
        if not self.types:  # as an inventory that found nothing writes it: nothing names the columns
            devices = (self.wanted.device_column or "DeviceSn",) * self.wanted.by_device
            self.types = dict.fromkeys((*devices, self.wanted.ca_column or "CaSn"), pl.String())
            self.pinning.write(pl.DataFrame(schema=self.types))
        if not self.keys:
            _refuse_own(name, (*self.types,))
            self.keys = self.wanted.keys(name, (*self.types,))
        self.pinning.finish()
        device = self.keys[0] if self.wanted.by_device else None
        pinned = PinnedList(path, self.rows, (*self.types,), device, self.keys[-1], (*self.files,))
        findings = self.findings or self._judged(pinned)
        return pinned, findings.check(sha256)

    def _judged(self, pinned: PinnedList) -> Findings:
        """Judges the rows of a list whose columns, or whose protected CAs, were not known until it was read."""
        beside = self.wanted.devices_beside(pinned.columns, pinned.ca_column)
        for column in (*pinned.key_columns, *beside):
            for table in self.tables:
                table.confirm_text(column)
        findings = self._judging(beside)
        if beside:
            for frame in pinned.frames():
                findings.note_devices(frame)
        row = 1
        for frame in pinned.frames():
            findings.add(frame, self.places.behind(row))
            row += frame.height
        return findings

    def _confirm_types(self, table: Table) -> None:
        try:
            common_types([pl.Schema(self.types), pl.Schema(table.types)])
        except ValueError as error:
            column = str(error)
            raise BulkcertError(
                ExitStatus.INPUT_INVALID,
                f"{table.name}: column {printable(column)} holds {table.types[column]}, "
                f"but {self.types[column]} in {self.files[0][0]}",
                "Export all files of the list alike, or run over each by itself.",
            ) from None

    def _differs(self, table: Table, columns: Sequence[str]) -> BulkcertError:
        first = self.files[0][0]
        if lacking := [name for name in self.types if name not in columns]:
            difference = f"has no column '{printable(lacking[0])}', which {first} has"
        elif more := [name for name in columns if name not in self.types]:
            difference = f"has a column '{printable(more[0])}', which {first} has not"
        else:
            difference = f"has the columns of {first} in another order"
        advice = "All files of a list have the same columns in the same order: export them alike, or run over each."
        return BulkcertError(ExitStatus.INPUT_INVALID, f"{table.name} {difference}", advice)


def load(
    inputs: Sequence[Path],
    pinned: Path,
    *,
    by_device: bool,
    device_column: str | None = None,
    ca_column: str | None = None,
    trust_serials: bool = False,
    protection: Protection | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> tuple[PinnedList, Check]:
    """Reads an input once: checks every row, and pins them all.

    Args:
        inputs: Its files or patterns, in order; ``-`` is standard input. A ``.csv``, ``.csv.gz``, ``.csv.zst``,
            ``.parquet``, ``.pq``, ``.ndjson`` or ``.jsonl`` file; or a pipe, which is what its first bytes say.
        pinned: The Parquet file to write, which must not exist; mode 0600, whole but not yet durable. On an error
            nothing is left of it.
        by_device: Whether a row means a device certificate (``DeviceSn`` and ``CaSn``) or a CA (``CaSn`` or ``Sn``).
        device_column: Exact name of the column of the device serials, or None to look for it. For an action on CAs
            that of devices beside them: the CA of a protected device is protected.
        ca_column: Exact name of the column of the CA serials, or None to look for it.
        trust_serials: Whether serials that all look like rounded numbers are taken as they are.
        protection: The rows that must not be called, opened for the same kind of action.
        on_progress: Told the number of rows read so far, from time to time.

    Raises:
        BulkcertError: INPUT_UNREADABLE: missing, unreadable, damaged, or of an unknown kind; INPUT_INVALID: malformed,
            changed meanwhile, without usable columns, files that differ, or a spreadsheet has changed the serials;
            CANNOT_WRITE: the pinned list.
    """
    wanted = _Wanted(by_device, device_column, ca_column, trust_serials, protection)
    digest = hashlib.sha256()
    with Pinning(pinned) as pinning:
        loading = _Loading(wanted, pinning, on_progress)
        for path in expand(inputs):
            with open_table(path, digest, pinned.with_name(f"{pinned.name}.spool")) as table:
                loading.take(table)
        return loading.finish(pinned, digest.hexdigest())


@contextmanager
def loaded(inputs: Sequence[Path], **how: Any) -> Iterator[tuple[PinnedList, Check]]:
    """Loads an input for as long as the context lasts; see ``load`` for what it takes and raises."""
    with tempfile.TemporaryDirectory(prefix="bulkcert-") as folder:
        yield load(inputs, Path(folder) / "input.parquet", **how)


def _refuse_own(name: str, columns: Sequence[str]) -> None:
    for column in columns:
        if column.startswith(OWN_PREFIX):
            raise BulkcertError(
                ExitStatus.INPUT_INVALID,
                f"{name}: a column is named {printable(column)}, and bulkcert keeps names with {OWN_PREFIX} for itself",
                "Rename the column.",
            )

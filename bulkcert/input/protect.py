"""Serials that must not be touched: a list of them, read whole, and which rows of an input it protects.

The list is a table, or text with a serial a line. One bad serial refuses it.
"""

import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

import polars as pl

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.input.check import REASONS, ROUNDED, SerialProblem, faults
from bulkcert.input.columns import find_column, lacking, quoted
from bulkcert.input.files import File, open_file, unreadable
from bulkcert.input.records import MalformedError, Part, read_lines
from bulkcert.words import counted, printable

_DEVICE, _CA, _BARE = "device", "ca", "bare"
_SCHEMA = {_DEVICE: pl.String(), _CA: pl.String(), _BARE: pl.String()}
_REPAIR = "Correct the list: a serial that matches nothing protects nothing."
# What hints at a second field, a note or quotes; a serial that has one of these can be listed under a name in CSV.
_NOT_ALONE = r"[\s,;|\"]"
_NOT_ALONE_REASON = (
    "holds white space, a comma, a semicolon, a vertical bar or a quote: write one serial a line, or give the file its "
    "true suffix"
)


class Protection:
    """A list of protected serials, and which of them were found in the rows of an input so far.

    Args:
        path: The file.
        found: Its serials: those of devices, of CAs, and those that may be either, null where a line has none.
        by_device: Whether it is for a device action.
    """

    def __init__(self, path: Path, found: pl.DataFrame, *, by_device: bool) -> None:
        self.path = path
        self._by_device = by_device
        self._bare = found[_BARE].null_count() < found.height
        devices, cas = (found[_BARE if self._bare else name] for name in (_DEVICE, _CA))
        # For a device action a line with a device means that alone.
        self._cas = _serials(cas if self._bare or not by_device else cas.filter(devices.is_null()))
        self._devices = _serials(devices if by_device else devices.clear())
        self._lone = _serials(devices if self._bare else devices.filter(cas.is_null()))
        self._all_cas = _serials(cas)
        self._devices_found = set[str]()
        self._cas_found = self._devices_found if self._bare else set[str]()
        self._cas_of_devices = set[str]()
        listed = pl.concat([self._devices, self._cas]).alias("serial").to_frame()
        self._plain = listed.select(_plain).to_series().implode()
        # Serials of rows that are not protected, but for which the list has one that is much the same.
        self._similar = [listed.clear().with_columns(_plain)]

    def hits(self, keys: pl.DataFrame) -> tuple[pl.Series, pl.Series]:
        """Returns which rows are protected by their device's serial, and which by their CA's.

        Args:
            keys: Serials of the devices and the CAs; of the CAs alone for an action on CAs.
        """
        devices, cas = keys.to_series(0), keys.to_series(-1)
        by_device, by_ca = _is_in(devices, self._devices), _is_in(cas, self._cas)
        self._devices_found.update(devices.filter(by_device).unique())
        self._cas_found.update(cas.filter(by_ca).unique())
        self._cas_of_devices.update(cas.filter(by_device).drop_nulls().unique())
        for serials in keys.filter(~(by_device | by_ca)):
            others = serials.alias("serial").to_frame().with_columns(_plain)
            self._similar.append(others.filter(pl.col("plain").is_in(self._plain)).unique())
        return by_device, by_ca

    def describe(self, rows: int) -> str:
        """Returns in words what is on the list, ``3 devices and 1 CA`` or ``2 serials``, and that it protected rows."""
        if not len(self._devices) + len(self._cas) + len(self._lone):
            on_it = "nothing"
        elif self._bare:
            on_it = counted(len(self._cas), "serial")
        else:
            on_it = f"{counted(len(self._devices), 'device')} and " * self._by_device + counted(len(self._cas), "CA")
        missed = len(self._missed())
        unfound = f"; {counted(missed, 'serial')} {'is' if missed == 1 else 'are'} in no row" * (missed > 0)
        return f"{on_it}; {counted(rows, 'row')} protected{unfound}"

    def _missed(self) -> list[str]:
        """Returns the serials on the list that no row has."""
        cas = [serial for serial in self._cas if serial not in self._cas_found]
        return cas if self._bare else cas + [each for each in self._devices if each not in self._devices_found]

    def protected_cas(self) -> set[str]:
        """Returns the CAs that are on the list, or have a protected row."""
        return self._cas_of_devices.union(self._all_cas)

    def unplaced(self) -> int:
        """Returns the number of devices on the list of which neither it nor a row says under which CA they are.

        Raises:
            BulkcertError: INPUT_INVALID: there are some, and the action is on CAs, which might hit them.
        """
        found = [serial for serial in self._lone if serial not in self._devices_found]
        if found and not self._by_device:
            raise _refused(
                f"{self.path}: {counted(len(found), 'serial')}, the first '{printable(found[0])}', may be "
                "devices under one of these CAs: an action on a CA reaches all its devices",
                "Write the list as a table with the column CaSn: the CA of each protected device, or the CA itself.",
            )
        return len(found)

    def mistaken(self) -> tuple[str, ...]:
        """Returns the serials on the list that rows have with other letter case or other leading zeros only, in order.

        Rows that are protected anyway don't count.
        """
        missed = pl.DataFrame({"serial": self._missed()}, schema={"serial": pl.String}).with_columns(_plain)
        others = pl.concat(self._similar).join(missed, on="serial", how="anti")  # a CA may have the serial of a device
        return (*missed.join(others, on="plain", how="semi")["serial"].unique().sort(),)


_plain = pl.col("serial").str.to_lowercase().str.strip_chars_start("0").alias("plain")


def _serials(column: pl.Series) -> pl.Series:
    return column.drop_nulls().unique(maintain_order=True)


def _is_in(asked: pl.Series, serials: pl.Series) -> pl.Series:
    return asked.is_in(serials.implode()).fill_null(value=False)


def open_protection(
    path: Path, *, by_device: bool, trust_serials: bool = False, may_be_empty: bool = False
) -> Protection:
    """Reads a list of serials that must not be touched.

    In a table (by its suffix, as an input) a line with DeviceSn means that device, under whatever CA; a line with CaSn
    alone means that CA and all its devices. For an action on CAs each CaSn means its CA: what is done to a CA reaches
    its devices. A table with nothing but Sn, and any other suffix, which is text with a serial a line (blank lines and
    lines that begin with ``#`` ignored), mean the device or the CA that has the serial.

    Args:
        path: The file.
        by_device: Whether the action is on device certificates.
        trust_serials: Whether serials that all look like rounded numbers are taken as they are.
        may_be_empty: Whether a list without serials is one.

    Raises:
        BulkcertError: INPUT_UNREADABLE; INPUT_INVALID: a serial that cannot be right, none at all, or a file that
            does not say where the serials are.
    """
    path = Path(path)
    with unreadable(path):
        status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise BulkcertError(ExitStatus.INPUT_UNREADABLE, f"{path}: not a regular file", "Give a file.")
    pieces = [pl.DataFrame(schema=_SCHEMA)]
    if status.st_size or not may_be_empty:
        with open_file(path, lambda _: None, "text") as file:
            parts = _text(file) if file.kind == "text" else _table(file, by_device=by_device)
            pieces += [_checked(part, names) for part, names in parts]
    found = pl.concat(pieces, how="diagonal")
    if found.is_empty() and not may_be_empty:
        raise _refused(f"{path}: no serials", "A list without any protects nothing: fill it, or leave it out.")
    if not trust_serials:
        _refuse_rounded(path, found)
    return Protection(path, found, by_device=by_device)


def _text(file: File) -> Iterator[tuple[Part, dict[str, str]]]:
    try:
        for lines, texts in read_lines(file.name, file.chunks):
            found = [(line, text.decode()) for line, text in zip(lines, texts, strict=True) if text[:1] != b"#"]
            frame = pl.DataFrame({_BARE: [text.removesuffix("\r") for _, text in found]}, schema={_BARE: pl.String})
            yield Part(frame, file.name, 1, [line for line, _ in found].__getitem__), {_BARE: _BARE}
    except MalformedError as error:
        raise error.of(file.name, _REPAIR) from None


def _table(file: File, *, by_device: bool) -> Iterator[tuple[Part, dict[str, str]]]:
    parts = list(file.parts())
    names = _chosen(file.name, parts[-1].frame.columns if parts else [], by_device=by_device)
    for part in parts:
        for column in names.values():
            part.confirm_text(column)
        yield part, names


def _chosen(path: str, columns: list[str], *, by_device: bool) -> dict[str, str]:
    """Returns the columns of a table by what they hold."""
    device, ca = find_column(path, columns, ("DeviceSn",)), find_column(path, columns, ("CaSn",))
    either = None if ca else find_column(path, columns, ("Sn",))
    if device and not by_device:
        ca = ca or either
    if device or ca:
        return {key: column for key, column in ((_DEVICE, device), (_CA, ca)) if column}
    if either:
        return {_BARE: either}
    advice = "Name the columns of the serials so; serials without a name, one a line, are a list with the suffix .txt."
    raise lacking(path, columns, "DeviceSn or CaSn", advice)


def _checked(part: Part, names: Mapping[str, str]) -> pl.DataFrame:
    """Returns the serials of a part by what they are, null where there is none; refuses one that cannot be right."""
    keys = part.frame.select(
        # It may be missing in the first rows of NDJSON.
        pl.col(name).cast(pl.String).alias(key) if name in part.frame.columns else pl.lit(None, pl.String).alias(key)
        for key, name in names.items()
    )
    found = pl.DataFrame([faults(serials).alias(serials.name) for serials in keys])
    blank = found.select(pl.all() == SerialProblem.BLANK)
    # Where one serial is blank the other one of the line says what is meant.
    meant = ~blank.select(pl.all_horizontal(pl.all())).to_series()
    for key, name in names.items():
        serials, wrong = keys[key], found[key].set(blank[key] & meant, SerialProblem.NONE)
        bare = key == name  # of text, which has no names
        unfit = wrong != SerialProblem.NONE
        if bare:
            unfit |= serials.str.contains(_NOT_ALONE)
        if unfit.any():
            index = unfit.arg_max() or 0
            reason = REASONS.get(SerialProblem(wrong[index]), _NOT_ALONE_REASON)
            column = "" if bare else f", column {printable(name)}"
            raise _refused(f"{part.place(index)}{column}: {quoted(serials[index] or '')} {reason}", _REPAIR)
    return keys.select(pl.when(~blank[key]).then(pl.col(key)).alias(key) for key in names)


def _refuse_rounded(path: Path, found: pl.DataFrame) -> None:
    for serials in found:
        if len(nonblank := serials.drop_nulls()) and nonblank.str.contains(ROUNDED).all():
            raise _refused(
                f"{path}: every serial ends in zeros after its fifteenth digit, as {quoted(nonblank[0])} does: a "
                "spreadsheet has changed them",
                "Export it again with this column as text; or give --trust-serials if these are the true serials.",
            )


def _refused(message: str, advice: str) -> BulkcertError:
    return BulkcertError(ExitStatus.INPUT_INVALID, message, advice)

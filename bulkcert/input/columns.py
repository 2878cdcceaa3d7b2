"""Which columns of the input hold the serials, and which the instances of the rows and their regions."""

import re
import shlex
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import msgspec

from bulkcert.errors import BulkcertError, ExitStatus, wrong_options
from bulkcert.words import nearest, printable

_Columns: TypeAlias = tuple[str | None, str | None]

COLUMNS_SHOWN = 20
"""Names of columns that a message lists."""

_FORGIVEN = re.compile(r"[\s_\-\ufeff]+")
# What is hardly a column's name: a serial, a date or a number of eight characters and more.
_VALUE = re.compile(r"(?=.*[0-9])[0-9A-Fa-f:-]{8,}")
_LONGEST_DATE = len("2026-01-01")
_LIKELY_CA = re.compile(r"(?i)(?<![a-z])ca(?![a-z])|ca_?sn|ca_?serial|issuer|authority")
_LIKELY_DEVICE = re.compile(rf"(?i)^(?!.*(?:{_LIKELY_CA.pattern[4:]})).*(?:device|serial|sn(?![a-z])|cert)")
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}


def confirm_header(file: str, columns: Sequence[str], named: Sequence[str]) -> None:
    """Refuses a CSV file whose first line is a row already: taken for the header, it would be lost.

    Args:
        file: What messages call it.
        columns: What is on its first line: data if there is a serial, and none of the names that are looked for.
        named: Names of columns that were given by options, empty where none was; one that is a serial is the first
            row all the same.

    Raises:
        BulkcertError: INPUT_INVALID.
    """
    given = {name for name in named if name and not (_VALUE.fullmatch(name) and len(name) > _LONGEST_DATE)}
    names = {"devicesn", "casn", "sn"}.intersection(map(_plain, columns)) or set(columns) & given
    if any(map(_VALUE.fullmatch, columns)) and not names:
        line = {1: "CaSn", 2: "DeviceSn,CaSn"}.get(len(columns), "DeviceSn,CaSn,...")
        raise _invalid(
            f"{file}: the header line is missing: the first line holds {quoted(columns[0])}",
            f"Add the line {line} above it: a name for each of its {len(columns)} columns, in their order.",
        )


def find_keys(
    place: str, columns: Sequence[str], *, by_device: bool, device_column: str, ca_column: str
) -> tuple[str, ...]:
    """Returns the columns of a file that together say which certificate is meant, that of the CA last.

    Args:
        place: The file, for messages.
        columns: Its columns.
        by_device: Whether a row means a device certificate rather than a CA.
        device_column: Exact name of the column of the device serials; empty to look for it.
        ca_column: Exact name of the column of the CA serials; empty to look for it.

    Raises:
        BulkcertError: INPUT_INVALID: they are not found for certain.
    """
    ca_names = ("CaSn",) if by_device else ("CaSn", "Sn")
    device = find_column(place, columns, ("DeviceSn",), "--device-column", device_column) if by_device else None
    ca = find_column(place, columns, ca_names, "--ca-column", ca_column)
    missing = {"--device-column": "DeviceSn"} if by_device and device is None else {}
    if ca is None:
        missing["--ca-column"] = " or ".join(ca_names)
    if missing:
        which = "column holds" if len(missing) == 1 else "columns hold"
        advice = f"Say which {which} the serials: {' '.join(_option(columns, option) for option in missing)}"
        raise lacking(place, columns, " and no ".join(missing.values()), advice)
    if device == ca:
        raise _invalid(
            f"{place}: column {printable(ca or '')} cannot hold both the device's and the CA's serial",
            "Name two columns with --device-column and --ca-column.",
        )
    return (*filter(None, (device, ca)),)


def find_column(
    place: str, columns: Sequence[str], names: Sequence[str], option: str = "", chosen: str = ""
) -> str | None:
    """Returns the column that an option names, or that has the first name which one has; None if there is none.

    A column has a name whatever its case, white space, ``_`` and ``-``.

    Raises:
        BulkcertError: INPUT_INVALID: the one that the option names is not there, or several columns have a name.
    """
    if chosen:
        if chosen in columns:
            return chosen
        near = nearest(chosen.casefold(), [name.casefold() for name in columns])
        meant = next((f"; did you mean {quoted(name)}" for name in columns if name.casefold() in near), "")
        raise _invalid(
            f"{place}: no column is named {quoted(chosen)}{meant}; {_listed(columns)}",
            f"Give {option} one of these names, exactly as written.",
        )
    for name in names:
        found = [column for column in columns if _plain(column) == _plain(name)]
        if len(found) > 1:
            text = " and ".join(map(quoted, found))
            right = f"Name the right one: {option} {shlex.quote(found[0])}"
            advice = right if option else "Rename or remove all but one."
            raise _invalid(f"{place}: {text} may each be the {name} column", advice)
        if found:
            return found[0]
    return None


def lacking(place: str, columns: Sequence[str], names: str, advice: str) -> BulkcertError:
    """Returns what to raise where no column has one of some names."""
    if name := next((name for mark, name in _SEPARATORS.items() if any(mark in each for each in columns)), ""):
        advice = f"The fields seem to be separated by {name}: export the list again with commas."
    return _invalid(f"{place}: no {names} column; {_listed(columns)}", advice)


def _option(columns: Sequence[str], option: str) -> str:
    """Returns an option with the column that it is likely to name, for the user to judge."""
    likely = _LIKELY_CA if option == "--ca-column" else _LIKELY_DEVICE
    column = next((name for name in columns if likely.search(name)), "COLUMN")
    return f"{option} {shlex.quote(column) if column.isprintable() else 'COLUMN'}"


def _invalid(message: str, advice: str) -> BulkcertError:
    return BulkcertError(ExitStatus.INPUT_INVALID, message, advice)


def _plain(name: str) -> str:
    return _FORGIVEN.sub("", name.casefold())


def quoted(name: str) -> str:
    """Returns a name, or a value, safe on a terminal."""
    return f"'{printable(name)}'"


def _listed(columns: Sequence[str]) -> str:
    if not columns:
        return "there are no columns"
    more = len(columns) - COLUMNS_SHOWN
    shown = ", ".join(map(quoted, columns[:COLUMNS_SHOWN]))
    return f"the columns are {shown}" + (f" and {more} more" if more > 0 else "")


class InstanceSource(msgspec.Struct, frozen=True, kw_only=True):
    """Where it is said which instance rows are of, as options have it.

    Attributes:
        instance: The instance of all rows; empty where a column is to say it.
        instance_column: Exact name of that column; empty to look for ``MqttInstanceId``.
        region: The region of all instances; empty where a column is to say it.
        region_column: Exact name of that column; empty to look for ``RegionId`` where no option says the region.
        endpoint: Whether the service is named by its URL, so that no region has to be.
        optional: Whether a list that has no such column is of use without an instance.
    """

    instance: str = ""
    instance_column: str = ""
    region: str = ""
    region_column: str = ""
    endpoint: bool = False
    optional: bool = False

    def missing(self, instance: str | None = None, region: str | None = None) -> Iterator[str]:
        """Yields what nothing says, given the columns that say something."""
        if not (self.instance or instance or self.optional):
            said = "the ID of the instance that holds the certificates"
            yield f"--instance is missing: {said}, unless the list has a column MqttInstanceId"
        if not (self.region or self.endpoint or region):
            yield "--region is missing: that of the instance; or name the service's URL with --endpoint"


def find_instances(
    source: InstanceSource | None, place: str, columns: Sequence[str], keys: Sequence[str]
) -> tuple[_Columns, _Columns]:
    """Returns the columns of a file that name instances and their regions, and those of them that rows go by.

    They are None where there is none, or it does not matter; rows don't go by one where an option says the same.

    Args:
        source: Where it is said; None where it does not matter.
        place: The file, for messages.
        columns: Its columns.
        keys: Those of the serials.

    Raises:
        BulkcertError: INPUT_INVALID: an option names one that is not there or holds something else, or several may
            be meant; USAGE: neither an option nor a column says which instance, or which region.
    """
    if source is None:
        return (None, None), (None, None)
    instance = find_column(place, columns, ("MqttInstanceId",), "--instance-column", source.instance_column)
    region = None
    # A region that is given needs no column, and instances that are not there are refused all the same.
    if source.region_column or not (source.region or source.endpoint):
        region = find_column(place, columns, ("RegionId",), "--region-column", source.region_column)
    for column, others in ((instance, keys), (region, (*keys, instance))):
        if column is not None and column in others:
            said = f"{place}: column {printable(column)} cannot hold two things"
            raise _invalid(said, "Name another one with --instance-column or --region-column.")
    if missing := list(source.missing(instance, region)):
        advice = "No calls were made. --instance-column and --region-column name columns of the list instead."
        raise wrong_options(missing, advice)
    return (instance, region), (None if source.instance else instance, None if source.region else region)

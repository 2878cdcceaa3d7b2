"""Loading an input: its files are read once, checked row by row, and pinned as one Parquet file."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.input.check import Check
from bulkcert.input.columns import InstanceSource, confirm_header, find_instances, find_keys, quoted
from bulkcert.input.files import File, expand, open_file
from bulkcert.input.findings import Findings
from bulkcert.input.pinned import OWN_PREFIX, PinnedList, Pinning
from bulkcert.input.protect import Protection
from bulkcert.words import printable


@dataclass(slots=True)
class _Loading:
    """An input that is being read; see ``load`` for what is not explained here."""

    by_device: bool
    device_column: str
    ca_column: str
    pinning: Pinning
    findings: Findings
    # Of several files all columns are pinned as text, since their types may differ.
    several: bool
    types: dict[str, pl.DataType] = field(default_factory=dict)
    # Whether columns may still come: NDJSON names them as it goes.
    late: bool = True
    # What messages call the first file.
    first_file: str = ""

    def take(self, file: File) -> None:
        """Takes in a file.

        Raises:
            BulkcertError: INPUT_INVALID; INPUT_UNREADABLE; CANNOT_WRITE.
        """
        self.first_file = self.first_file or file.name
        for part in file.parts():
            frame = self._whole(file, part.frame)
            columns = [*self.findings.columns, *filter(None, self.findings.instance_columns)]
            for column in columns:
                part.confirm_text(column)
            self.pinning.write(frame)
            self.findings.add(frame.select(pl.col(columns).cast(pl.String)), part)

    def _whole(self, file: File, frame: pl.DataFrame) -> pl.DataFrame:
        """Returns rows of a file with all columns so far, in their order."""
        if file.kind == "csv":
            confirm_header(file.name, frame.columns, (self.device_column, self.ca_column))
        if self.several:
            text = [name for name, kind in frame.schema.items() if not (kind.is_nested() or kind == pl.Binary)]
            frame = frame.with_columns(pl.col(text).cast(pl.String))
        if self.types and self.types != frame.schema:
            self._confirm_alike(file, frame.schema)
        self.late &= file.kind == "ndjson"
        if not self.types or frame.schema.keys() - self.types.keys():
            self._widen(file.name, frame.schema)
        if frame.columns == [*self.types]:
            return frame
        return frame.select(
            pl.col(name) if name in frame.columns else pl.lit(None, kind).alias(name)
            for name, kind in self.types.items()
        )

    def _confirm_alike(self, file: File, types: pl.Schema) -> None:
        """Confirms that a file has the columns of those before it."""
        lacking = [name for name in self.types if name not in types and file.kind != "ndjson"]
        more = [name for name in types if name not in self.types and not (file.kind == "ndjson" and self.late)]
        other = [name for name, kind in types.items() if self.types.get(name, kind) != kind]
        first = self.first_file
        if lacking:
            difference = f"has no column {quoted(lacking[0])}, which {first} has"
        elif more:
            difference = f"has a column {quoted(more[0])}, which {first} has not"
        elif other:
            difference = f"holds {types[other[0]]} in column {quoted(other[0])}, but {first} {self.types[other[0]]}"
        else:
            return
        advice = "All files of a list have the same columns: export them alike, or run over each by itself."
        raise BulkcertError(ExitStatus.INPUT_INVALID, f"{file.name} {difference}", advice)

    def _widen(self, name: str, types: pl.Schema) -> None:
        """Takes in the columns of a file, which must not leave it open which of them hold the serials."""
        for column in types:
            if column.startswith(OWN_PREFIX):
                text = f"{name}: a column is named {printable(column)}, and bulkcert keeps names with {OWN_PREFIX}"
                raise BulkcertError(ExitStatus.INPUT_INVALID, f"{text} for itself", "Rename the column.")
        self.types |= {column: kind for column, kind in types.items() if column not in self.types}
        columns = {"device_column": self.device_column, "ca_column": self.ca_column}
        keys = find_keys(name, [*self.types], by_device=self.by_device, **columns)
        if (before := self.findings.columns) and keys != before:
            text = f"{name}: {quoted(keys[-1])} may be the column that {quoted(before[-1])} was taken for"
            advice = f"Name the right one: --ca-column {quoted(keys[-1])}"
            raise BulkcertError(ExitStatus.INPUT_INVALID, text, advice)
        instances = find_instances(self.findings.source, name, [*self.types], keys)
        self.findings.columns, (self.findings.instance_columns, self.findings.by_row) = keys, instances

    def finish(self, path: Path, sha256: str) -> tuple[PinnedList, Check]:
        """Completes the pinned list.

        Raises:
            BulkcertError: INPUT_INVALID; CANNOT_WRITE.
        """
        if not self.findings.columns:  # as an inventory that found nothing writes it: nothing names the columns
            devices = (self.device_column or "DeviceSn",) * self.by_device
            self._widen(self.first_file, pl.Schema(dict.fromkeys((*devices, self.ca_column or "CaSn"), pl.String())))
            self.pinning.write(pl.DataFrame(schema=self.types))
        self.pinning.finish()
        check, keys = self.findings.check(sha256), self.findings.columns
        device, instance = keys[0] if self.by_device else None, check.instance_columns[0]
        several = len(check.instances) > 1
        return PinnedList(path, check.rows, (*self.types,), device, keys[-1], instance if several else None), check


def load(
    inputs: Sequence[Path],
    pinned: Path,
    *,
    by_device: bool,
    device_column: str = "",
    ca_column: str = "",
    trust_serials: bool = False,
    protection: Protection | None = None,
    instances: InstanceSource | None = None,
) -> tuple[PinnedList, Check]:
    """Reads an input once: checks every row, and pins them all.

    Args:
        inputs: Its files or patterns, in order; ``-`` is standard input. A file is what its suffix says
            (``formats.LISTS``), a pipe what its first bytes say.
        pinned: The Parquet file to write, which must not exist; mode 0600, whole but not yet durable. On an error
            nothing is left of it.
        by_device: Whether a row means a device certificate (``DeviceSn`` and ``CaSn``) or a CA (``CaSn`` or ``Sn``).
        device_column: Exact name of the column of the device serials; empty to look for it.
        ca_column: Exact name of the column of the CA serials; empty to look for it.
        trust_serials: Whether serials that all look like rounded numbers are taken as they are.
        protection: The rows that must not be called, opened for the same kind of action.
        instances: Where it is said which instance a row is of; None where that does not matter.

    Raises:
        BulkcertError: INPUT_UNREADABLE: missing, unreadable, damaged, or of an unknown kind; INPUT_INVALID: malformed,
            changed meanwhile, without usable columns, files that differ, or a spreadsheet has changed the serials;
            CANNOT_WRITE: the pinned list; USAGE: nothing says which instance the rows are of.
    """
    paths, digest, pinning = expand(inputs), hashlib.sha256(), Pinning(pinned)
    findings = Findings(protection, instances, trust_serials=trust_serials)
    loading = _Loading(by_device, device_column, ca_column, pinning, findings, several=len(paths) > 1)
    try:
        for path in paths:
            with open_file(path, digest.update) as file:
                loading.take(file)
        return loading.finish(pinned, digest.hexdigest())
    except BaseException:
        pinning.abandon()
        raise

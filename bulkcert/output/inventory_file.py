"""The file of an inventory: what is wanted in it, and writing it while pages come in."""

import queue
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl

from bulkcert.engine.listing import Listing
from bulkcert.errors import BulkcertError
from bulkcert.output.files import cannot_write
from bulkcert.output.results import sink
from bulkcert.service.certificates import Certificate
from bulkcert.service.operations import OPERATIONS

FRAME_ROWS = 20_000
"""Certificates that are handed to the file at a time."""

_FIRST_MS, _LAST_MS = -62_135_596_800_000, 253_402_300_799_999
"""The years 1 to 9999: what lies outside is no time."""

_TIMES = ("ValidBegin", "ValidEnd")
_TIME = pl.Datetime("ms", "UTC")


@dataclass(frozen=True, slots=True, kw_only=True)
class InventoryFilter:
    """What is wanted of the inventory.

    Attributes:
        cas: Whether the CAs are wanted, rather than device certificates.
        ca_sns: CAs whose device certificates are wanted; none means those of the whole instance.
        status: The one status that is wanted, or None.
        expires_before: Unix time in milliseconds before which the validity ends, or None.
        expires_after: Unix time in milliseconds at or after which it ends, or None.
        output: The file.
        overwrite: Whether it may replace another.
    """

    cas: bool
    ca_sns: tuple[str, ...]
    status: str | None
    expires_before: int | None
    expires_after: int | None
    output: Path
    overwrite: bool

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the file, in order."""
        return (*(("CaSn", "CaName") if self.cas else ("DeviceSn", "CaSn", "DeviceName")), "Status", *_TIMES)

    def listings(self, instance: str) -> Iterator[tuple[str, Listing]]:
        """Yields what is to be read, each with its CA; an empty text means the whole instance."""
        base = {"MqttInstanceId": instance}
        if self.ca_sns:
            by_ca = OPERATIONS["ListDeviceCertificateByCaSn"]
            for ca_sn in self.ca_sns:
                yield ca_sn, Listing(by_ca, {"CaSn": ca_sn, **base})
        else:
            yield "", Listing(OPERATIONS["ListCaCertificate" if self.cas else "ListDeviceCertificate"], base)


class InventoryFile:
    """The content of the file, written in a thread of its own from what is added in the loop.

    Pages come at the pace of the caps, far slower than they are written.

    Args:
        wanted: What is wanted of it.
        target: The open file.

    Attributes:
        statuses: Its rows by status.
        without_expiry: Certificates whose end of validity is no time; no filter by expiry matches them.
        failure: Why it could not be written, or None.
    """

    def __init__(self, wanted: InventoryFilter, target: BinaryIO) -> None:
        self.statuses: Counter[str] = Counter()
        self.without_expiry = 0
        self.failure: BulkcertError | None = None
        self._wanted, self._target = wanted, target
        self._waiting: queue.SimpleQueue[list[Certificate] | None] = queue.SimpleQueue()

    def add(self, certificates: list[Certificate] | None) -> None:
        """Has certificates written, those that are wanted; None is the end of them."""
        self._waiting.put(certificates)

    def write(self) -> None:
        """Writes what is added until the end; to be run in a thread. What goes wrong is in ``failure``."""
        try:
            sink(self._frames(), self._frame([]).schema, self._wanted.output.suffix.lower(), self._target)
        except (OSError, pl.exceptions.PolarsError) as error:
            self.failure = cannot_write(self._wanted.output, error)

    def _frames(self) -> Iterator[pl.DataFrame]:
        rows: list[Certificate] = []
        yield self._frame(rows)
        while (more := self._waiting.get()) is not None:
            rows += more
            if len(rows) >= FRAME_ROWS:
                yield self._frame(rows)
                rows = []
        yield self._frame(rows)

    def _frame(self, certificates: list[Certificate]) -> pl.DataFrame:
        wanted = self._wanted
        values: dict[str, list[Any]] = {
            "DeviceSn": [one.device_sn for one in certificates],
            "CaSn": [one.sn if wanted.cas else one.ca_sn for one in certificates],
            "DeviceName": [one.device_name for one in certificates],
            "CaName": [one.ca_name for one in certificates],
            "Status": [one.status.value for one in certificates],
            "ValidBegin": [None if one.valid_begin is None else str(one.valid_begin) for one in certificates],
            "ValidEnd": [None if one.valid_end is None else str(one.valid_end) for one in certificates],
        }
        table = pl.DataFrame(
            {name: values[name] for name in wanted.columns}, schema=dict.fromkeys(wanted.columns, pl.String)
        )
        times = pl.col(_TIMES).cast(pl.Int64, strict=False)
        table = table.with_columns(pl.when(times.is_between(_FIRST_MS, _LAST_MS)).then(times).name.keep())
        self.without_expiry += table["ValidEnd"].null_count()
        if wanted.status is not None:
            table = table.filter(pl.col("Status") == wanted.status)
        if wanted.expires_before is not None:
            table = table.filter(pl.col("ValidEnd") < wanted.expires_before)
        if wanted.expires_after is not None:
            table = table.filter(pl.col("ValidEnd") >= wanted.expires_after)
        self.statuses.update(dict(table["Status"].value_counts().rows()))
        table = table.with_columns(pl.col(_TIMES).cast(_TIME))
        if wanted.output.suffix.lower() == ".parquet":
            return table
        return table.with_columns(pl.col(_TIMES).dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ"))

"""The inventory: certificates as the service lists them, streamed to a file that a thread of its own writes."""

import queue
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import anyio
import anyio.to_thread
import polars as pl

from bulkcert.engine.lanes import Lanes
from bulkcert.engine.listing import Deliver, Listing, read_listings
from bulkcert.engine.progress import Progress, StatsMaker
from bulkcert.engine.session import Supervision, calling
from bulkcert.engine.target import Target
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.output.files import cannot_write
from bulkcert.output.formats import FORMATS, FormulaRows, guarded, suffix_of
from bulkcert.output.results import lazy
from bulkcert.runs.other_options import InventoryOptions
from bulkcert.service.actions import OPERATIONS
from bulkcert.service.classification import Certificate, Page

FRAME_ROWS = 20_000
"""Certificates that are handed to the file at a time."""

_FIRST_MS, _LAST_MS = -62_135_596_800_000, 253_402_300_799_999
"""The years 1 to 9999: what lies outside is no time."""

_TIMES = ("ValidBegin", "ValidEnd")
_TIME = pl.Datetime("ms", "UTC")


@dataclass(slots=True, kw_only=True)
class Inventory:
    """The taking of one inventory.

    Pages come at the pace of the caps, far slower than they are written.

    Attributes:
        service: Which, from where, how fast.
        options: What is wanted, as typed.
        expires_before: Unix time in milliseconds before which the validity ends, or None.
        expires_after: Unix time in milliseconds at or after which it ends, or None.
        output: The file.
        target: The same, open.
        progress: What is done so far.
        statuses: Rows of the file by status.
        read: Certificates read.
        repeated: Certificates skipped because the page before held them too.
        formulas: Rows whose serials a spreadsheet would run.
    """

    service: Target
    options: InventoryOptions
    expires_before: int | None
    expires_after: int | None
    output: Path
    target: BinaryIO
    progress: Progress = field(default_factory=Progress)
    statuses: Counter[str] = field(default_factory=Counter)
    read: int = 0
    repeated: int = 0
    formulas: FormulaRows = field(default_factory=FormulaRows)
    _begun: list[Listing] = field(default_factory=list)
    _unknown: list[str] = field(default_factory=list)
    _failure: BulkcertError | None = None
    _waiting: queue.SimpleQueue[list[Certificate] | None] = field(default_factory=queue.SimpleQueue)

    @property
    def cas_read(self) -> int:
        """How many of the CAs that were named are read to their end."""
        return sum(listing.whole for listing in self._begun)

    async def take(self, supervision: Supervision) -> None:
        """Reads every page that is needed and writes the file.

        Raises:
            BulkcertError: It could not be done; no half of an inventory may be kept.
        """
        stats = StatsMaker(self.progress, "verifying", self.service)
        async with calling(self.service, supervision, stats) as lanes:
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.to_thread.run_sync, self._write)
                try:
                    failure = await self._read(lanes)
                finally:
                    self._waiting.put(None)
            failure = self._why_not(failure)
            self.progress.scans += failure is None
        if failure is not None:
            raise failure

    async def _read(self, lanes: Lanes) -> BulkcertError | None:
        failure = await read_listings(lanes, self._listings())
        return next((begun.failure for begun in self._begun if begun.failure), failure)

    def _deliver(self, ca_sn: str, listing: Listing) -> Deliver:
        """Returns what takes the pages of a listing, in order; they shift when certificates come and go meanwhile."""
        before: set[tuple[str, str, str]] = set()

        def deliver(page: Page, _at: int) -> bool:
            nonlocal before
            if listing.refused and ca_sn not in self._unknown:
                self._unknown.append(ca_sn)
            keys = [(certificate.device_sn, certificate.ca_sn, certificate.sn) for certificate in page.certificates]
            fresh = [certificate for certificate, key in zip(page.certificates, keys, strict=True) if key not in before]
            before = set(keys)
            self.read += len(fresh)
            self.repeated += len(keys) - len(fresh)
            self._waiting.put(fresh)
            return not (self._unknown or self._failure)

        return deliver

    def _why_not(self, failure: BulkcertError | None) -> BulkcertError | None:
        failure = self._failure or failure
        if (stop := self.progress.stop) is not None:
            again = stop.status >= ExitStatus.INTERRUPTED
            failure = BulkcertError(stop.status, stop.message, "" if again else stop.advice, again=again)
        elif failure is None and self._unknown:
            message = f"--ca-sn {', '.join(self._unknown)}: instance {self.service.instance} has no such CA"
            advice = "bulkcert inventory --cas lists the CAs of the instance."
            failure = BulkcertError(ExitStatus.INPUT_INVALID, message, advice)
        if failure is None:
            return None
        message = f"{failure.message.removesuffix('.')}; nothing was written"
        return BulkcertError(failure.status, message, failure.advice, again=failure.again)

    def _listings(self) -> Iterator[Listing]:
        """Yields what is to be read until that is in vain: a listing for each CA, or one of the whole instance."""
        base = {"MqttInstanceId": self.service.instance}
        by_ca = OPERATIONS["ListDeviceCertificateByCaSn"]
        whole = OPERATIONS["ListCaCertificate" if self.options.cas else "ListDeviceCertificate"]
        for ca_sn in dict.fromkeys(self.options.ca_sn or [""]):
            listing = Listing(by_ca, {"CaSn": ca_sn, **base}) if ca_sn else Listing(whole, base)
            if not self._unknown and not any(begun.failure for begun in self._begun):
                self._begun.append(listing)
                listing.deliver = self._deliver(ca_sn, listing)
                yield listing

    def _write(self) -> None:
        """Writes what waits until the end; to be run in a thread."""
        try:
            FORMATS[suffix_of(self.output)].write(lazy(self._frames, self._frame([]).schema), self.target)
        except (OSError, pl.exceptions.PolarsError) as error:
            self._failure = cannot_write(self.output, error)

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
        serials = ("CaSn", "CaName") if self.options.cas else ("DeviceSn", "CaSn", "DeviceName")
        # Where each is, too, so that several inventories are one list.
        columns = (*serials, "Status", *_TIMES, "MqttInstanceId", *([] if self.options.endpoint else ["RegionId"]))
        values: dict[str, list[Any]] = {
            "DeviceSn": [one.device_sn for one in certificates],
            "CaSn": [one.sn if self.options.cas else one.ca_sn for one in certificates],
            "DeviceName": [one.device_name for one in certificates],
            "CaName": [one.ca_name for one in certificates],
            "Status": [one.status.value for one in certificates],
            "ValidBegin": [None if one.valid_begin is None else str(one.valid_begin) for one in certificates],
            "ValidEnd": [None if one.valid_end is None else str(one.valid_end) for one in certificates],
            "MqttInstanceId": [self.service.instance] * len(certificates),
            "RegionId": [self.options.region] * len(certificates),
        }
        table = pl.DataFrame({name: values[name] for name in columns}, schema=dict.fromkeys(columns, pl.String))
        times = pl.col(_TIMES).cast(pl.Int64, strict=False)
        table = table.with_columns(pl.when(times.is_between(_FIRST_MS, _LAST_MS)).then(times).name.keep())
        if self.options.status is not None:
            table = table.filter(pl.col("Status") == self.options.status)
        if self.expires_before is not None:
            table = table.filter(pl.col("ValidEnd") < self.expires_before)
        if self.expires_after is not None:
            table = table.filter(pl.col("ValidEnd") >= self.expires_after)
        self.statuses.update(dict(table["Status"].value_counts().rows()))
        if self.options.formula_guard and FORMATS[suffix_of(self.output)].for_people:
            table = guarded(table, [name for name in serials if name.endswith("Name")])
            numbers = table.with_row_index("row", self.statuses.total() - table.height + 1)
            self.formulas = self.formulas.and_then(numbers, [name for name in serials if name.endswith("Sn")], "row")
        table = table.with_columns(pl.col(_TIMES).cast(_TIME))
        if FORMATS[suffix_of(self.output)].typed:
            return table
        return table.with_columns(pl.col(_TIMES).dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ"))

"""A plan: what a run would find and do, and what it would cost, from reading operations alone."""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import partial
from itertools import islice
from pathlib import Path

import anyio.to_thread
import polars as pl

from bulkcert.engine.lanes import Lanes
from bulkcert.engine.limits import Target
from bulkcert.engine.listing import Listing
from bulkcert.engine.pages import read_listings, unreadable
from bulkcert.engine.progress import Progress
from bulkcert.engine.session import Leave, Observer, calling
from bulkcert.engine.sightings import STATUSES, Sightings
from bulkcert.engine.states import StateReader
from bulkcert.engine.stats import StatsMaker
from bulkcert.errors import BulkcertError
from bulkcert.input import CA_SN, DEVICE_SN, ROW, Check, PinnedList, annotated
from bulkcert.runs.job import check_list_options, list_name
from bulkcert.runs.options import PlanOptions
from bulkcert.runs.planned import SUFFIX
from bulkcert.runs.reading_list import read_list
from bulkcert.runs.target import refuse, resolve_target
from bulkcert.service.actions import ACTIONS, Action, ActionName
from bulkcert.service.certificates import PAGE_SIZE, Page, Status
from bulkcert.service.codes import READING_REFUSED
from bulkcert.service.credentials import CredentialProvider
from bulkcert.service.operations import OPERATIONS, Operation
from bulkcert.service.verdicts import Verdict
from bulkcert.store.outcome import Row

CAS_COUNTED = 20
"""CAs whose registered device certificates are counted, most rows first."""

MANY_ROWS = 100
"""Rows above which one call for their CA is worth naming."""

NEARLY_ALL = 0.9
"""Share of a CA's registered device certificates that are nearly all of them."""

MOST_SHARE = 0.5
"""Share of the rows from which a CA is worth one call, whatever else is registered under it."""

MOST_COUNTED = 100_000
"""Device certificates of such a CA that are counted, a thousand pages; of others as many as show whether the rows are
nearly all of them."""

LISTING = OPERATIONS["ListDeviceCertificateByCaSn"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question(Target):
    """What a plan is wanted for, resolved and checked.

    Attributes:
        action: What would be asked for each row.
        inputs: The files of the list.
        options: The options as typed.
    """

    action: Action
    inputs: tuple[Path, ...]
    options: PlanOptions

    @property
    def list_name(self) -> str:
        """The list, for messages."""
        return list_name(self.inputs)


def resolve_question(action: ActionName, inputs: tuple[Path, ...], options: PlanOptions) -> Question:
    """Returns what the options ask for.

    Raises:
        BulkcertError: With all that is wrong with the options at once.
    """
    problems: list[str] = []
    service = resolve_target(options, problems)
    check_list_options(options, options, problems)
    if options.output is not None and not options.output.name.endswith(SUFFIX):
        problems.append(f"-o {options.output} must end in {SUFFIX}: it is the plan that is kept, not results")
    refuse(problems, "plan")
    return Question(
        **{each.name: getattr(service, each.name) for each in fields(service)},
        action=ACTIONS[action],
        inputs=inputs,
        options=options,
    )


@dataclass(frozen=True, slots=True)
class Registered:
    """How many device certificates of a CA are registered; at least so many where its listing was not read to its end.

    Attributes:
        devices: Device certificates.
        whole: Whether these are all.
    """

    devices: int
    whole: bool


@dataclass(slots=True)
class PlanFindings:
    """What reading found.

    Attributes:
        by_ca: How many rows that may be called are in each status, by CA; those of CAs that are not counted for
            themselves are under None. The status None is that of rows whose state was not read.
        registered: Device certificates of CAs, where they were counted.
        reading: Calls that the preflight of the run itself makes.
        may_read: Whether one certificate may be read; None where that was not tried or not answered.
        may_list: Whether certificates may be listed; None likewise.
        knows_instance: Whether the service knows the instance as this account's; None likewise.
        clock_ahead_s: How far this machine's clock is ahead of the service's, to about a second, or None.
        unread_because: Why states could not be read, or not all of them.
    """

    by_ca: dict[str | None, Counter[Status | None]] = field(default_factory=dict)
    registered: dict[str, Registered] = field(default_factory=dict)
    reading: int = 0
    may_read: bool | None = None
    may_list: bool | None = None
    knows_instance: bool | None = None
    clock_ahead_s: float | None = None
    unread_because: str = ""


@contextmanager
def inquiry(question: Question, on_progress: Callable[[int], None] | None = None) -> Iterator["Inquiry"]:
    """Opens the reading for one plan: its list is read, and forgotten when the context ends.

    Args:
        question: What it is wanted for.
        on_progress: Called with the number of rows read so far.

    Raises:
        BulkcertError: The list cannot be read. Invalid and protected rows are counted only.
    """
    with tempfile.TemporaryDirectory(prefix="bulkcert-") as folder:
        pinned = Path(folder) / "input.parquet"
        yield Inquiry(question, *read_list(question.inputs, pinned, question.action, question.options, on_progress))


class Inquiry:
    """The reading for one plan.

    Args:
        question: What it is wanted for.
        pinned: The list.
        check: What the pass over it found.
    """

    def __init__(self, question: Question, pinned: PinnedList, check: Check) -> None:
        self.question = question
        self.pinned, self.check = pinned, check
        self.progress = Progress()
        self.findings = PlanFindings()

    @property
    def largest_cas(self) -> list[str]:
        """The CAs with most rows."""
        return list(islice(self.check.rows_by_ca, CAS_COUNTED))

    async def make(self, provider: CredentialProvider, watch: Observer, leave: Leave) -> PlanFindings:
        """Reads what there is to know.

        Args:
            provider: What to sign with; has credentials.
            watch: Shows the progress.
            leave: Called on the second signal; ends the process at once.

        Raises:
            BulkcertError: The run itself would be refused like this.
        """
        question, failure = self.question, None
        sightings = Sightings.from_now(self.check, by_device=question.action.by_device)
        async with calling(question, provider, StatsMaker(self.progress, "verifying", question), watch, leave) as lanes:
            first = await anyio.to_thread.run_sync(next, self._batches(), None)
            if first:
                failure = await self._ask(lanes, first[0])
            if first and failure is None and question.options.preflight != "never" and not lanes.stopping.is_set():
                await self._preflight(lanes, sightings)
                await self._count_registered(lanes, sightings)
        if (stop := self.progress.stop) is not None:
            raise BulkcertError(stop.status, stop.message, stop.advice)
        if failure is not None:
            raise failure
        self._count(sightings)
        return self.findings

    def _frames(self) -> Iterator[pl.DataFrame]:
        return map(self.check.callable_of, annotated(self.pinned, own=False))

    def _batches(self) -> Iterator[list[Row]]:
        device = DEVICE_SN if self.question.action.by_device else pl.lit("").alias(DEVICE_SN)
        for frame in self._frames():
            if frame.height:
                yield [Row(*row) for row in frame.select(ROW, device, CA_SN).iter_rows()]

    async def _ask(self, lanes: Lanes, row: Row) -> BulkcertError | None:
        """Reads one certificate: credentials, instance and clock are checked by it; returns why that cannot be."""
        action, instance = self.question.action, self.question.instance
        parameters = action.parameters(instance, row.device_sn, row.ca_sn)
        failure = await self._read(lanes, action.reading, parameters)
        if failure is None and self.findings.clock_ahead_s is None and not lanes.stopping.is_set():
            # Only what was found has the time; an empty page is found as well.
            ca = {"CaSn": row.ca_sn} if action.by_device else {}
            page = {"MqttInstanceId": instance, "PageNo": "1", "PageSize": "1"}
            failure = await self._read(lanes, action.listing, page | ca)
        return failure

    async def _read(self, lanes: Lanes, operation: Operation, parameters: dict[str, str]) -> BulkcertError | None:
        settled = await lanes.settle(lanes.lanes[0], operation, parameters)
        if settled is None or lanes.stopping.is_set():
            return None
        answer, found = settled.answer, self.findings
        known = answer.page is not None or answer.verdict is Verdict.NOT_FOUND
        found.clock_ahead_s = answer.clock_ahead_s
        found.knows_instance = True if known else found.knows_instance
        if known or answer.code in READING_REFUSED:
            if operation is self.question.action.reading:
                found.may_read = known
            else:
                found.may_list = known
            return None
        # What is refused for what it asks is a finding of this row, not of the run.
        return None if settled.final else unreadable(answer, operation)

    async def _preflight(self, lanes: Lanes, sightings: Sightings) -> None:
        """Reads states as a run would, and counts what that costs."""
        question, progress, found = self.question, self.progress, self.findings
        before = progress.sends.sends - progress.retries
        await anyio.to_thread.run_sync(lambda: sightings.expect(self._frames()))
        reader = StateReader(lanes, question.action, sightings)
        scanned = await reader.read(one_by_one=self._batches() if question.options.preflight == "always" else None)
        found.may_list = found.may_list if scanned.may_list is None else scanned.may_list
        found.unread_because = scanned.failure.message if scanned.failure is not None else ""
        found.reading = progress.sends.sends - progress.retries - before

    async def _count_registered(self, lanes: Lanes, sightings: Sightings) -> None:
        """Counts the device certificates of the CAs where that is worth telling."""
        if self.question.action.cascades:
            most: dict[str, float] = dict.fromkeys(self.largest_cas, float("inf"))
        elif self.question.action.by_ca and self.findings.may_list:
            rows = sightings.rows_by_ca()
            many = MOST_SHARE * rows.total()
            most = {
                ca: max(rows[ca] / NEARLY_ALL + PAGE_SIZE, MOST_COUNTED * (rows[ca] >= many))
                for ca in self.largest_cas
                if rows[ca] > MANY_ROWS
            }
        else:
            return
        counts: Counter[str] = Counter()

        def listing(ca: str) -> Listing:
            def count(page: Page, _at: int) -> bool:
                counts[ca] += len(page.certificates)
                return counts[ca] <= most[ca]

            return Listing(LISTING, {"MqttInstanceId": self.question.instance, "CaSn": ca}, count)

        listings = {ca: listing(ca) for ca in most}
        failure = await read_listings(lanes, partial(next, iter(listings.values()), None))
        if failure is None:
            found = {ca: Registered(counts[ca], listing.whole) for ca, listing in listings.items()}
            self.findings.registered = found

    def _count(self, sightings: Sightings) -> None:
        statuses, by_ca, kept = sightings.statuses, self.findings.by_ca, self.check.rows_by_ca
        for frame in self._frames():
            seen = pl.Series("seen", [statuses[row] for row in frame[ROW]], dtype=pl.UInt8)
            for ca, number, rows in frame.select(CA_SN).with_columns(seen).group_by(CA_SN, "seen").len().iter_rows():
                by_ca.setdefault(ca if ca in kept else None, Counter())[STATUSES[number]] += rows

"""A plan: what a run would find and do, and what it would cost, from reading operations alone."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio.to_thread
import msgspec
import polars as pl

from bulkcert.engine.failures import unreadable
from bulkcert.engine.lanes import Lanes
from bulkcert.engine.progress import Progress, StatsMaker
from bulkcert.engine.session import Supervision, calling
from bulkcert.engine.sightings import NUMBER_OF, Sightings
from bulkcert.engine.states import StateReader
from bulkcert.errors import BulkcertError, ExitStatus, temporary
from bulkcert.input import Check, PinnedList, annotated
from bulkcert.runs.found import Found, Registered, ask_instances, count_devices, worth_counting
from bulkcert.runs.job import ListTarget, check_list_options
from bulkcert.runs.opened import fields_of
from bulkcert.runs.options import PlanOptions
from bulkcert.runs.planned import SUFFIX
from bulkcert.runs.policy import may_read
from bulkcert.runs.reading_list import read_list
from bulkcert.runs.target import located, preflight_of, refuse_job, resolve_target
from bulkcert.service.actions import ACTIONS, ActionName, Operation, ca_key
from bulkcert.store.outcome import Row

SHORT = 1000
"""A list of fewer rows is read whole by a plan, one by one where need be: four seconds at most."""


class Question(ListTarget, frozen=True, kw_only=True):
    """What a plan is wanted for, resolved and checked; ``options`` as typed."""

    options: PlanOptions


def resolve_question(action: ActionName, inputs: tuple[Path, ...], options: PlanOptions) -> Question:
    """Returns what the options ask for.

    Raises:
        BulkcertError: With all that is wrong with the options at once.
    """
    problems: list[str] = []
    service = resolve_target(options, problems, named_by_rows=True)
    check_list_options(options, problems)
    if options.output is not None and not options.output.name.endswith(SUFFIX):
        problems.append(f"-o {options.output} must end in {SUFFIX}: it is the plan that is kept, not results")
    if problems:
        refuse_job(problems, "plan", options)
    return Question(**msgspec.structs.asdict(service), action=ACTIONS[action], inputs=inputs, options=options)


class PlanFindings(Found):
    """What reading found.

    Attributes:
        changing: Rows that the run calls: all but those that its own preflight finds in the desired state.
        reading: Calls that its preflight makes.
        may_read: Whether one certificate may be read; None where that was not tried or not answered.
        may_list: Whether certificates may be listed; None likewise.
        knows_instance: Whether the service knows the instance as this account's; None likewise.
        instances: The same for each instance of a list that names several.
        clock_ahead_s: How far this machine's clock is ahead of the service's, to about a second, or None.
        unread_because: Why states could not be read, or not all of them.
        are_swapped: Whether devices are registered if their serials and those of their CAs change places.
    """

    changing: int = 0
    reading: int = 0
    may_read: bool | None = None
    may_list: bool | None = None
    knows_instance: bool | None = None
    instances: dict[str, bool | None] = msgspec.field(default_factory=dict)
    clock_ahead_s: float | None = None
    unread_because: str = ""
    are_swapped: bool = False


@contextmanager
def inquiry(question: Question) -> Iterator["Inquiry"]:
    """Opens the reading for one plan: its list is read, and forgotten when the context ends.

    Args:
        question: What it is wanted for.

    Raises:
        BulkcertError: The list cannot be read. Invalid and protected rows are counted only.
    """
    with temporary(tempfile.TemporaryDirectory) as folder:
        path, options = Path(folder) / "input.parquet", question.options
        pinned, check = read_list(question.inputs, path, question.action, options)
        yield Inquiry(located(question, check, vpc=options.vpc), pinned, check)


class Inquiry(msgspec.Struct):
    """The reading for one plan.

    Attributes:
        question: What it is wanted for.
        pinned: The list.
        check: What the pass over it found.
        progress: What happens.
        findings: What is found.
    """

    question: Question
    pinned: PinnedList
    check: Check
    progress: Progress = msgspec.field(default_factory=Progress)
    findings: PlanFindings = msgspec.field(default_factory=PlanFindings)

    async def make(self, supervision: Supervision) -> PlanFindings:
        """Reads what there is to know.

        Raises:
            BulkcertError: The run itself would be refused like this.
        """
        question, failure = self.question, None
        sightings = Sightings(self.check.rows, self.check.rows_by_ca, by_device=question.action.by_device)
        async with calling(question, supervision, StatsMaker(self.progress, "verifying", question)) as lanes:
            first = await anyio.to_thread.run_sync(next, self._batches(), None)
            if first:
                failure = await self._ask(lanes, first[0])
            if first and failure is None and not lanes.stopping.is_set():
                await self._preflight(lanes, sightings)
                by_ca = self.check.rows_by_ca
                await anyio.to_thread.run_sync(self.findings.count, self._frames(), sightings.statuses, by_ca)
                if not lanes.stopping.is_set():
                    await self._count_registered(lanes, sightings)
        if (stop := self.progress.stop) is not None:
            raise BulkcertError(stop.status, stop.message, stop.advice)
        if failure is not None:
            raise failure
        return self.findings

    def _frames(self) -> Iterator[pl.DataFrame]:
        return map(self.check.callable_of, annotated(self.pinned, own=False))

    def _batches(self) -> Iterator[list[Row]]:
        for frame in self._frames():
            if frame.height:
                fields = fields_of(frame, self.question.action)
                yield [Row(row, device, ca, instance=instance) for row, device, ca, instance in fields]

    async def _ask(self, lanes: Lanes, row: Row) -> BulkcertError | None:
        """Reads one certificate: credentials, instance and clock are checked by it; returns why that cannot be."""
        action, question = self.question.action, self.question
        self.findings.instances = await ask_instances(lanes)
        if lanes.stopping.is_set():
            return None
        parameters = question.parameters(action, row)
        failure = await self._read(lanes, action.reading, parameters)
        if failure is None and self.findings.clock_ahead_s is None and not lanes.stopping.is_set():
            # Only what was found has the time; an empty page is found as well.
            listed = question.listed(row.ca if action.by_device else ca_key("", row.instance))
            failure = await self._read(lanes, action.listing, listed | {"PageNo": "1", "PageSize": "1"})
        return failure

    async def _read(self, lanes: Lanes, operation: Operation, parameters: dict[str, str]) -> BulkcertError | None:
        settled = await lanes.settle(lanes.lanes[0], operation, parameters)
        if settled is None or lanes.stopping.is_set():
            return None
        answer, found = settled.answer, self.findings
        found.clock_ahead_s = answer.clock_ahead_s
        if (may := may_read(answer)) is not None:
            found.knows_instance = may or found.knows_instance
            if operation is self.question.action.reading:
                found.may_read = may
            else:
                found.may_list = may
            return None
        # What is refused for what it asks is a finding of this row, not of the run.
        return None if settled.final else unreadable(answer, operation)

    async def _preflight(self, lanes: Lanes, sightings: Sightings) -> None:
        """Reads states as a run would, and counts what that costs; of a short list those that it would not read too."""
        action, progress, found = self.question.action, self.progress, self.findings
        mode = preflight_of(action, self.question.options.preflight)
        before = progress.sends.sends - progress.retries
        await anyio.to_thread.run_sync(sightings.expect, self._frames())
        reader, failure = StateReader(lanes, action, sightings), None
        if mode != "never":
            scanned = await reader.read(one_by_one=self._batches() if mode == "always" else None)
            found.may_list = found.may_list if scanned.may_list is None else scanned.may_list
            failure = scanned.failure or scanned.incomplete
            found.registered = {ca: Registered(*counted) for ca, counted in scanned.counted.items() if counted[1]}
            found.are_swapped = await reader.are_swapped(self._batches())
        found.reading = progress.sends.sends - progress.retries - before
        in_desired_state = 0 if action.deletes else sightings.statuses.count(NUMBER_OF[action.desired_status])
        found.changing = self.check.callable - in_desired_state
        if mode != "always" and self.check.callable < SHORT and not lanes.stopping.is_set():
            unreadable_rows = await reader.read_unseen(self._batches())
            failure = failure or unreadable_rows
        found.unread_because = failure.message if failure is not None else ""
        if mode == "never":
            found.are_swapped = await reader.are_swapped(self._batches())

    async def _count_registered(self, lanes: Lanes, sightings: Sightings) -> None:
        """Counts the device certificates of the CAs: of an action on CAs all, else where that is worth reporting."""
        action, progress, found = self.question.action, self.progress, self.findings
        before = progress.sends.sends - progress.retries
        if not action.by_device:
            called = (
                ca
                for ca in self.check.rows_by_ca
                if found.by_ca[ca].keys() != {action.desired_status} or action.deletes
            )
            await count_devices(lanes, found, dict.fromkeys(called, float("inf")))
            denied = found.uncounted is not None and found.uncounted.status is ExitStatus.DENIED
            if found.may_list is None and (progress.pages or denied):
                found.may_list = not denied
            found.reading += progress.sends.sends - progress.retries - before
        elif action.by_ca and found.may_list:
            await count_devices(lanes, found, worth_counting(sightings.rows_by_ca(), self.check.rows_by_ca))

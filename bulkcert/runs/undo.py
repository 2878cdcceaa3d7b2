"""Undoing: a session of the run that does the inverse action for exactly what the run has changed."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import anyio.to_thread
import msgspec
import polars as pl

from bulkcert.engine.calling import Engine
from bulkcert.engine.progress import Progress, StatsMaker
from bulkcert.engine.session import Supervision, calling
from bulkcert.engine.target import Limit, Target
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.input import ROW, annotated
from bulkcert.log import bind
from bulkcert.output.summary import Summary
from bulkcert.runs.found import Found, count_devices
from bulkcert.runs.job import check_required, confirm_required, resolve_limits
from bulkcert.runs.opened import CALLING, OpenRun, is_in, limited
from bulkcert.runs.options import CallOptions
from bulkcert.runs.session import after_reads, confirm_read, finalize, session, summarize
from bulkcert.runs.target import refuse
from bulkcert.service.actions import ACTIONS, Action
from bulkcert.store import queries
from bulkcert.store.outcome import Outcome, Row


class UndoResult(msgspec.Struct, frozen=True):
    """What came of an undo.

    Attributes:
        rows: Rows that were to be undone.
        undone: Rows that were.
        unknown: Rows of which nobody knows what they were before; not undone unless --include-unknown.
        exit_status: Of the undo: 0 if all of it is undone.
        run: What the run has come to now, with an exit status of its own, 1: its rows are undone; null if there was
            nothing to undo.
    """

    rows: int
    undone: int
    unknown: int
    exit_status: int
    run: Summary | None = None


class Undo(msgspec.Struct):
    """The undo of a run, opened; no calls were made yet.

    Attributes:
        opened: The run.
        service: Where it was made.
        options: As typed.
        max_errors: When to give up.
        include_unknown: Whether rows are undone whose state before is not known.
        known: Rows that the run has changed, or may have, and that were in the opposite state before.
        unknown: Rows that it has changed, or may have, whose state before is not known.
        progress: What this session does.
        found: How many devices the CAs have; nothing unless they were counted.
    """

    opened: OpenRun
    service: Target
    options: CallOptions
    max_errors: Limit
    include_unknown: bool = False
    known: int = 0
    unknown: int = 0
    progress: Progress = msgspec.field(default_factory=Progress)
    found: Found = msgspec.field(default_factory=Found)

    @property
    def action(self) -> Action:
        """The inverse action."""
        return ACTIONS[self.opened.action.inverse or ""]

    @property
    def rows(self) -> int:
        """Rows that are to be undone."""
        return self.known + self.unknown * self.include_unknown

    @property
    def is_over(self) -> bool:
        """Whether there is nothing to undo, nor an end to be made of a session that has done it all and was killed."""
        return not self.rows and not self.opened.is_unended("undo")

    @property
    def calls(self) -> int:
        """Certificates that this session calls at most."""
        return min(self.rows, self.options.limit_rows or self.rows)

    async def count_devices(self, supervision: Supervision) -> None:
        """Counts the devices under the CAs that are to be undone, before anything is asked.

        Raises:
            BulkcertError: It was stopped.
        """
        stats = StatsMaker(self.progress, "undoing", self.service)
        async with calling(self.service, supervision, stats) as lanes:
            rows = chain.from_iterable(self._batches())
            most = await anyio.to_thread.run_sync(lambda: dict.fromkeys((row.ca for row in rows), float("inf")))
            await count_devices(lanes, self.found, most)
        confirm_read(self.progress)

    async def call(self, supervision: Supervision) -> None:
        """Calls what is to be undone, until done or stopped.

        Raises:
            BulkcertError: The store cannot be written; no calls were made.
        """
        opened, service = self.opened, self.service
        settled = queries.counts(opened.store.db, opened.asked.rows).left_alone
        stats = StatsMaker(
            self.progress,
            "undoing",
            service,
            rows=settled[Outcome.UNDONE] + self.rows,
            settled=settled,
            to_call=self.calls,
            limited=self.options.limit_rows is not None,
        )
        batches = self._batches()
        opened.begin("undo", self.options, supervision.provider.current, include_unknown=self.include_unknown)
        await after_reads(self.progress)
        async with session(opened, service, supervision, stats) as lanes:
            self.progress.preflight_over = True
            await Engine(self.action, lanes, opened.store, max_errors=self.max_errors, undoes=True).run(batches)

    def _batches(self) -> Iterator[list[Row]]:
        """Yields the rows that this session undoes, in order."""

        def batches() -> Iterator[list[Row]]:
            for frame, known in _changed(self.opened):
                rows = [row for row, is_known in known.items() if is_known or self.include_unknown]
                yield self.opened.rows(frame.filter(is_in(rows)))

        return limited(batches(), self.options.limit_rows)

    def finish(self) -> Summary:
        """Writes results and summary.

        Raises:
            BulkcertError: They cannot be written, or the outcomes do not add up.
        """
        if not self.opened.store.session:
            self.opened.begin("undo", self.options, None, include_unknown=self.include_unknown)
        return finalize(self.opened, self.progress.stop, self._came_to())

    def nothing(self) -> UndoResult:
        """Returns what comes of it where there is nothing to undo.

        The session that has done it all may have been killed before results and summary said so: both come again.

        Raises:
            BulkcertError: They cannot be written.
        """
        if (doing := self.opened.newest(*CALLING)) is not None and doing.kind == "undo":
            summarize(self.opened, self.opened.write_results())
        return UndoResult(0, 0, self.unknown, int(ExitStatus.OK))

    def result(self, summary: Summary) -> UndoResult:
        """Returns what came of it."""
        undone, status = self.progress.outcomes[Outcome.UNDONE], summary.latest.exit_status
        # Where the store could not take the end, it has not taken all outcomes either.
        status = int(ExitStatus.CANNOT_WRITE) if status is None else status
        return UndoResult(self.rows, undone, self.unknown, status, summary)

    def _came_to(self) -> ExitStatus:
        outcomes, stop = self.progress.outcomes, self.progress.stop
        if outcomes[Outcome.UNDONE] == self.rows:
            return ExitStatus.OK
        # A stop cuts calls short as well, whose rows then have an outcome: that is no end.
        if stop is None and outcomes.total() - outcomes[Outcome.NOT_ATTEMPTED] == self.rows:
            return ExitStatus.INCOMPLETE
        return stop.status if stop is not None else ExitStatus.STOPPED_EARLY


def _changed(opened: OpenRun) -> Iterator[tuple[pl.DataFrame, dict[int, bool]]]:
    """Yields rows with those that the run may have changed, each with whether it is known what it was."""
    desired = opened.action.desired_status.value
    for frame in annotated(opened.pinned, own=False):
        if frame.height:
            yield frame, opened.store.read(queries.changed, desired, int(frame[ROW][0]), int(frame[ROW][-1]))


def open_undo(opened: OpenRun, options: CallOptions, *, include_unknown: bool | None) -> Undo:
    """Returns the undo of a run; nothing is written. ``include_unknown`` is None where nobody has decided.

    Raises:
        BulkcertError: An option is wrong, the action cannot be undone, or nobody has decided on rows of which too
            little is known.
    """
    bind(ticket=options.ticket or None)
    if opened.action.inverse is None:
        raise no_inverse(opened.action, opened.files.results)
    problems: list[str] = []
    service = opened.target(options, problems)
    limit = resolve_limits(options, problems)
    check_required(options, problems)
    refuse(problems, "undo")
    export = opened.files.command("export", "--outcome", "succeeded", "-o", "back.csv")
    back = f"bulkcert plan {opened.action.inverse} back.csv -o back.plan.json"
    confirm_required(options, None, f"An undo goes by no plan; a run does: {export}, then {back}")
    undo = Undo(opened, service, options, limit, include_unknown=bool(include_unknown))
    for _, known in _changed(opened):
        undo.known += sum(known.values())
        undo.unknown += len(known) - sum(known.values())
    if undo.unknown and include_unknown is None:
        raise BulkcertError(
            ExitStatus.USAGE,
            f"what they were before is not known of {undo.unknown:,} row{'s' * (undo.unknown != 1)} that the run has "
            f"called, or may have ({undo.known:,} known); no calls were made",
            "--include-unknown undoes them as well, --no-include-unknown leaves them as they are.",
        )
    return undo


def no_inverse(action: Action, results: Path) -> BulkcertError:
    """Returns the error of a run that no operation undoes."""
    advice = "Register the CA again; its devices register themselves at their next connection, active."
    message = f"{results}: {action.name} cannot be undone: there is no operation for that"
    return BulkcertError(ExitStatus.USAGE, message, advice if action.deletes else "No calls were made.")

"""What a person sees: the plan and the question, the progress, the summary, errors. stderr, but for the summary."""

from __future__ import annotations

import shlex
import signal
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any, cast

import anyio
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn
from rich.text import Text

from bulkcert.batch.outcome import WANTED, Outcome
from bulkcert.errors import BulkcertError, ExitStatus

if TYPE_CHECKING:
    from bulkcert.batch.engine import Engine
    from bulkcert.batch.run import Run
    from bulkcert.batch.summary import Summary
    from bulkcert.emulator.report import Report

ASK_FOR_COUNT = 1000
"""Above so many rows, and for every CA action, the number of rows must be typed."""

REFRESH_S = 0.25
LINE_EVERY_S = 5.0


class _Unfailing:
    """Standard error: nothing that is said there is worth ending a run for, as when the disk of its log is full."""

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)

    def write(self, text: str) -> int:
        with suppress(OSError):
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            sys.stderr.flush()


stdout = Console(highlight=False, soft_wrap=True)
stderr = Console(file=cast(IO[str], _Unfailing()), highlight=False, soft_wrap=True)


def show_error(error: BulkcertError) -> None:
    """Prints what happened and what to do next."""
    stderr.print(Text.assemble(("error: ", "bold red"), error.message))
    if error.advice:
        stderr.print(Text(f"  → {error.advice}"))


def _show(console: Console, rows: Iterable[tuple[str, str | Text]]) -> None:
    """Prints names and values in two columns; long values are left to the terminal, so that nothing is cut."""
    for name, value in rows:
        console.print(Text.assemble(f"{name:<14}", value))


def show_plan(run: Run) -> None:
    """Prints what a run is about to do."""
    job = run.job
    _show(stderr, _plan(run))
    if job.action.inverse is None:
        stderr.print(
            Text(
                "delete-ca cannot be undone: with each CA every device certificate registered under it is deleted; "
                "while a CA of the same chain stays registered, such a device registers itself again, active.",
                style="bold red",
            )
        )


def _plan(run: Run) -> Iterator[tuple[str, str]]:
    job, options, check = run.job, run.job.options, run.check
    yield "action", f"{job.action.name}: {job.action.verb}"
    yield "instance", f"{job.instance} at {job.endpoint}"
    left_out = [f"{check.invalid:,} invalid"] if check.invalid else []
    if check.duplicates:
        left_out.append(f"{check.duplicates:,} {'duplicates' if job.action.by_device else 'of a CA already named'}")
    yield "input", f"{job.input}: {check.rows:,} rows" + (f" ({', '.join(left_out)})" if left_out else "")
    if run.already_done:
        yield "done", f"{run.already_done:,} by earlier sessions; this one goes on"
    calls = min(run.to_call, options.limit_rows or run.to_call)
    yield "to call", f"{calls:,} {'device' if job.action.by_device else 'CA'} certificates"
    yield "CAs", _cas(run)
    lanes = f"{len(job.addresses)} address{'es' * (len(job.addresses) > 1)}"
    caps = f"{options.rate}/s for the account, {options.per_address_rate}/s for an address"
    yield "caps", f"{caps}: {job.rate:.0f}/s from {lanes}"
    yield "time", f"about {duration(calls / job.rate)}"
    yield "results", str(job.results)
    if damaged := run.journal.damaged_lines:
        yield "journal", f"{len(damaged)} damaged lines, the first is line {damaged[0]}; their rows are called again"


def show_idle(run: Run) -> None:
    """Prints that there is nothing to call, so that nobody takes an earlier session's figures for this one's."""
    done = f"all {run.already_done:,} were called by earlier sessions" if run.already_done else "no row may be called"
    stderr.print(Text(f"nothing to call: {done}; --overwrite starts anew"))


def _cas(run: Run) -> str:
    by_ca = run.check.rows_by_ca
    named = [f"{printable} ({rows:,})" for printable, rows in sorted(by_ca.items(), key=lambda pair: -pair[1])[:3]]
    rest = len(by_ca) - len(named)
    return f"{len(by_ca):,}: {', '.join(named)}{f' and {rest:,} more' if rest else ''}"


def confirm(run: Run) -> None:
    """Asks whether to go on.

    Raises:
        BulkcertError: The answer was no, or there is no terminal to ask.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise BulkcertError(
            ExitStatus.USAGE,
            "there is no terminal to ask whether to go on; nothing was called",
            "Add --yes to run without being asked.",
        )
    rows = run.check.rows
    if rows > ASK_FOR_COUNT or not run.job.action.by_device:
        agreed = _answer(f"Type the number of rows ({rows}) to go on: ").replace(",", "") == str(rows)
    else:
        agreed = _answer("Go on? [y/N] ").lower() in ("y", "yes")
    if not agreed:
        raise BulkcertError(ExitStatus.USAGE, "not confirmed; nothing was called")


def _answer(question: str) -> str:
    # polars has SIGINT restart a read that it interrupts; here Ctrl-C must end it.
    signal.siginterrupt(signal.SIGINT, True)
    try:
        return stderr.input(Text(question)).strip()
    except (EOFError, UnicodeDecodeError):
        stderr.print()
        return ""


class Board:
    """Shows a run while it goes on: a bar on a terminal, else a line every few seconds.

    Args:
        run: What is shown.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._total = min(run.to_call, run.job.options.limit_rows or run.to_call)
        self._started = time.monotonic()

    async def watch(self, engine: Engine) -> None:
        """Shows the progress until cancelled."""
        if self._run.job.options.quiet:
            await anyio.sleep_forever()
        elif stderr.is_terminal:
            await self._bar(engine)
        else:
            while True:
                await anyio.sleep(LINE_EVERY_S)
                done = engine.progress.outcomes.total()
                share = done / self._total if self._total else 1.0
                stderr.print(Text(f"{done:,}/{self._total:,} rows ({share:.0%}); {self._figures(engine)}"))

    async def _bar(self, engine: Engine) -> None:
        columns = (
            BarColumn(),
            TaskProgressColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
        )
        with Progress(*columns, console=stderr, auto_refresh=False, expand=False) as progress:
            bar = progress.add_task("rows", total=self._total, figures="")
            try:
                while True:
                    await anyio.sleep(REFRESH_S)
                    done = engine.progress.outcomes.total()
                    progress.update(bar, completed=done, figures=self._figures(engine), refresh=True)
            finally:
                done = engine.progress.outcomes.total()
                progress.update(bar, completed=done, figures=self._figures(engine), refresh=True)

    def _figures(self, engine: Engine) -> str:
        progress, now = engine.progress, time.monotonic()
        outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in progress.outcomes.items())
        parts = [f"{progress.sends.recent_rate(now):.0f}/s", outcomes or "nothing finished yet"]
        if progress.retries or progress.throttles:
            parts.append(f"{progress.retries:,} retries, {progress.throttles:,} throttles")
        parts.append(f"{duration(self._left_s(engine))} left")
        return "; ".join([*parts, self._why(engine, now)])

    def _left_s(self, engine: Engine) -> float:
        done = engine.progress.outcomes.total()
        pace = min(self._run.job.rate, done / max(time.monotonic() - self._started, 0.1))
        return (self._total - done) / pace if pace else (self._total - done) / self._run.job.rate

    def _why(self, engine: Engine, now: float) -> str:
        """Says what the run is waiting for."""
        progress = engine.progress
        if progress.stop is not None:
            return f"stopping ({progress.stop.message}): waiting for {progress.in_flight} calls in flight"
        if progress.outage.ongoing:
            return f"no answer for {now - progress.outage.since:.0f} s: waiting for the service ({progress.last_error})"
        if (pause := progress.slow_down.paused_until - now) > 0:
            return f"throttled: pausing {pause:.1f} s as the service asks"
        if (factor := progress.slow_down.factor(now)) < 1:
            return f"throttled: at {factor:.0%} of the cap, rising"
        if progress.in_flight >= self._run.job.workers * len(self._run.job.addresses):
            return f"all {progress.in_flight} workers wait for answers"
        return f"paced at {self._run.job.rate:.0f}/s"


def show_summary(summary: Summary) -> None:
    """Prints what a run came to, on stdout, and why it ended early, if it did, on stderr."""
    _show(stdout, _totals(summary))
    if summary.stopped:
        show_error(BulkcertError(ExitStatus(summary.exit_status), f"stopped: {summary.stopped}", summary.advice))
    if summary.outcomes.get(Outcome.NOT_ATTEMPTED):
        command = shlex.join(["bulkcert", *sys.argv[1:]])
        stderr.print(Text(f"to go on: {command}"))


def _totals(summary: Summary) -> Iterator[tuple[str, str | Text]]:
    yield "rows", f"{summary.rows:,}"
    for outcome, count in summary.outcomes.items():
        style = "green" if Outcome(outcome) in WANTED else "yellow" if outcome == Outcome.DUPLICATE else "red"
        yield "", Text(f"{count:>9,} {outcome}", style=style)
    for code, count in summary.codes.items():
        yield "", f"{count:>9,} with code {code}"
    pace = f"{summary.calls:,} at {summary.achieved_rate:,.1f}/s; worst one-second window {summary.worst_window:,}"
    yield "calls", f"{pace}; {summary.retries:,} retries, {summary.throttles:,} throttles"
    latency = summary.latency_ms
    if latency.p50 is not None:
        yield "latency", f"p50 {latency.p50:g} ms, p90 {latency.p90:g} ms, p99 {latency.p99:g} ms"
    yield "results", summary.results
    yield "summary", f"{summary.results}.summary.json"
    yield "exit status", f"{summary.exit_status}: {meaning(summary.exit_status)}"


def show_report(report: Report) -> None:
    """Prints what the emulator of a rehearsal saw, on stdout."""
    _show(stdout, _seen(report))


def _seen(report: Report) -> Iterator[tuple[str, str]]:
    pace = f"{report.arrivals:,} calls at {report.rate:,.1f}/s; worst one-second window {report.worst_window:,}"
    yield "emulator saw", pace
    for address, seen in sorted(report.addresses.items()):
        yield f"  {address}", f"{seen.arrivals:,} calls; worst one-second window {seen.worst_window:,}"
    yield "  changes", f"{report.changes:,} certificates changed"
    yield "  limits", f"{report.throttled:,} throttles, {report.blocks:,} blocks"
    if report.faults:
        yield "  faults", ", ".join(f"{count:,} {fault}" for fault, count in sorted(report.faults.items()))


def show_internal(error: BaseException) -> None:
    """Prints that something went wrong which should not, and where."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "nowhere"
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    show_error(
        BulkcertError(
            ExitStatus.INTERNAL,
            f"internal error: {type(error).__name__}: {error} (at {place})",
            "The journal holds every outcome: the same command goes on. Please report this; -v shows the traceback.",
        )
    )
    if {"-v", "--verbose"} & set(sys.argv):
        stderr.print("".join(traceback.format_exception(error)))


_MEANINGS = {
    ExitStatus.OK: "every row is in the wanted state",
    ExitStatus.INCOMPLETE: "finished, and some rows are not in the wanted state",
    ExitStatus.STOPPED_EARLY: "stopped early on purpose; run the same command again to go on",
}


def meaning(status: int) -> str:
    """Returns an exit status in words."""
    return _MEANINGS.get(ExitStatus(status), "stopped before all rows were called; see stderr")


def duration(seconds: float) -> str:
    """Returns a length of time for people: ``8 s``, ``6 min 43 s``, ``5 h 36 min``."""
    whole = round(seconds)
    if whole < 60:  # noqa: PLR2004 - clock arithmetic
        return f"{whole} s"
    if whole < 3600:  # noqa: PLR2004 - clock arithmetic
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"

"""``bulkcert inventory``: what the service holds, as a list."""

import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import NoReturn

import msgspec
from rich.text import Text

from bulkcert.commands import calling
from bulkcert.engine.figures import Stats
from bulkcert.engine.target import Target
from bulkcert.errors import ExitStatus
from bulkcert.formats import SUFFIXES_SHOWN
from bulkcert.output.files import cannot_write, refuse_taken, whole
from bulkcert.output.formats import suffix_of
from bulkcert.runs.inventory import Inventory
from bulkcert.runs.other_options import InventoryOptions
from bulkcert.runs.target import refuse, resolve_target
from bulkcert.service.credentials import ChainCredentials
from bulkcert.views import confirm as question
from bulkcert.views import console as terminal
from bulkcert.views.ending import warn_of_formulas
from bulkcert.views.layout import show
from bulkcert.views.live import shown
from bulkcert.words import counted, duration, faults

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class InventoryResult(msgspec.Struct, frozen=True):
    """What an inventory came to.

    Attributes:
        file: Where it is.
        certificates: Rows of the file.
        statuses: Rows by status.
        read: Certificates that the service listed.
        repeated: Certificates that were listed again at the head of the next page, and skipped there.
        pages: Pages read.
        calls: Requests sent.
        retries: Calls beyond the first of a page.
        throttles: Answers that said to slow down.
        achieved_rate: Calls per second from the first to the last.
        peak_window: Most sends in any half-open second.
        seconds: How long it took.
    """

    file: str
    certificates: int
    statuses: dict[str, int]
    read: int
    repeated: int
    pages: int
    calls: int
    retries: int
    throttles: int
    achieved_rate: float
    peak_window: int
    seconds: float


def inventory(options: InventoryOptions) -> ExitStatus:
    """Lists the registered device certificates of an instance, or its CAs, into a file; changes nothing.

    Args:
        options: As typed.
    """
    service, output, (after, before) = _resolve(options)
    refuse_taken(output, overwrite=options.overwrite)
    question.warn_of_limits(options)
    started = time.monotonic()
    try:
        with whole(output) as file:

            def leave(number: int) -> NoReturn:
                with suppress(OSError):
                    Path(file.name).unlink()
                calling.leave_reading(number)

            calling.prepare(provider := ChainCredentials(), leave)
            taking = Inventory(
                service=service, options=options, expires_before=before, expires_after=after, output=output, target=file
            )
            watches = [] if options.quiet else [shown(partial(_got, taking))]
            calling.call(taking.take, provider, leave, *watches)
    except OSError as error:
        raise cannot_write(output, error) from error
    result = _result(taking, time.monotonic() - started)
    if options.json:
        terminal.print_json(result)
    else:
        show(_lines(result))
    warn_of_formulas(output, taking.formulas)
    return ExitStatus.OK


def _resolve(options: InventoryOptions) -> tuple[Target, Path, tuple[int | None, int | None]]:
    problems: list[str] = []
    service = resolve_target(options, problems)
    output = options.output or Path()
    if options.output is None:
        problems.append("-o is missing: the file that the inventory goes to")
    elif not suffix_of(output):
        problems.append(f"-o {output} must end in {SUFFIXES_SHOWN}")
    if options.cas and options.ca_sn:
        problems.append("--cas and --ca-sn exclude each other: the one lists CAs, the other the devices of a CA")
    if not all(ca_sn.strip() for ca_sn in options.ca_sn):
        problems.append("--ca-sn is empty")
    before = _moment("--expires-before", options.expires_before, problems)
    after = _moment("--expires-after", options.expires_after, problems)
    if before is not None and after is not None and before <= after:
        problems.append("--expires-before must be later than --expires-after: nothing lies between them")
    refuse(problems, "inventory")
    return service, output, (after, before)


def _moment(name: str, text: str, problems: list[str]) -> int | None:
    """Returns a time as Unix time in milliseconds; None for an empty text."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        problems.append(f"{name} {text!r} is not a date such as 2026-12-01, or 2026-12-01T06:00:00Z")
        return None
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // timedelta(milliseconds=1)


def _result(taking: Inventory, seconds: float) -> InventoryResult:
    progress = taking.progress
    return InventoryResult(
        file=str(taking.output),
        certificates=taking.statuses.total(),
        statuses=dict(sorted(taking.statuses.items())),
        read=taking.read,
        repeated=taking.repeated,
        pages=progress.pages,
        calls=progress.sends.sends,
        retries=progress.retries,
        throttles=progress.throttles,
        achieved_rate=round(progress.sends.rate(), 1),
        peak_window=progress.sends.worst,
        seconds=round(seconds, 1),
    )


def _lines(result: InventoryResult) -> Iterator[tuple[str, str | Text]]:
    of_all = f" of {result.read:,} read" if result.read > result.certificates else ""
    yield "certificates", f"{result.certificates:,}{of_all}"
    for status, count in result.statuses.items():
        yield "", f"{count:>9,} {status}"
    if result.repeated:
        yield "", f"{result.repeated:>9,} listed twice, since the list changed meanwhile; once in the file"
    pace = f"{result.calls:,} at {result.achieved_rate:,.1f}/s; peak (1 s window) {result.peak_window:,}"
    yield "calls", f"{pace}; {counted(result.pages, 'page')}, {faults(result.retries, result.throttles)}"
    yield "time", duration(result.seconds) if result.seconds >= 1 else "less than a second"
    yield "file", result.file


def _got(taking: Inventory, stats: Stats) -> str:
    pages = f"{stats.pages:,} of " * (stats.to_page > 0) + counted(stats.to_page or stats.pages, "page")
    left = "how many are left is not known" if stats.left_s is None else f"{duration(stats.left_s)} left"
    cas = f" of {taking.cas_read:,} of {len(taking.options.ca_sn):,} CAs" * (len(taking.options.ca_sn) > 1)
    return f"{counted(taking.read, 'certificate')}{cas} on {pages}; {stats.rate:.0f}/s; {left}"

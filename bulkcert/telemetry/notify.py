"""Messages to people when a session ends, stops, or waits for somebody: through apprise, to whatever it reaches.

The URL of a service holds its token, so it is never shown, logged or stored; what apprise itself would log is dropped.
A message that is not delivered is a warning and changes nothing.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from socket import gethostname
from typing import Any, Self

from bulkcert.errors import ON_PURPOSE, BulkcertError, ExitStatus, own_error, status_by
from bulkcert.output.advice import sentence
from bulkcert.output.steps import left_words, meaning, steps_left, undone_words
from bulkcert.store.paths import RunFiles
from bulkcert.store.sessions import SessionKind
from bulkcert.store.status import RunStatus, status_of
from bulkcert.words import spaced

MOST_S = 15.0
"""How long the end of a command waits for all of its messages."""

ASKED_S = 60.0
"""A question that is open for so long is worth a message."""

_REFUSED = "it was refused, or nobody was there; apprise does not say which"

INSTALL = "pip install 'bulkcert[notify]', or '.[notify]' in a clone"


_active: ContextVar["Notifier | None"] = ContextVar("active", default=None)
"""Of the session that is running; a question is asked far from where that begins."""


class Notifier:
    """Sends a message when a session ends, however it does, and while a question stays open.

    It is the context of the session, and is to be given the exit status of one that ends without an error.

    Args:
        urls: Where to, as apprise takes them; at least one.
        kind: What the session does.
        files: Of the run.
        warn: Called with what went wrong.
        about: What is asked of which instance, where no store says so yet.
        rehearsal: Whether it is a rehearsal, likewise.

    Raises:
        BulkcertError: MISCONFIGURED: apprise is not installed; USAGE: it knows no such URL.
    """

    def __init__(
        self,
        urls: Sequence[str],
        kind: SessionKind,
        files: RunFiles,
        warn: Callable[[str], None],
        *,
        about: str = "",
        rehearsal: bool = False,
    ) -> None:
        self._services = list(map(_service, range(1, len(urls) + 1), urls))
        self._kind, self._files, self._warn = kind, files, warn
        self._about, self._rehearsal = about, rehearsal
        self.exit_status: int = ExitStatus.INTERNAL

    def __enter__(self) -> Self:
        self._token = _active.set(self)
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Sends what the session came to, and waits until that is done, for a while."""
        _active.reset(self._token)
        if error is not None:
            self.exit_status, error = status_by(error), own_error(error)
        status = self._status()
        lines = [f"results: {self._files.results.absolute()} on {gethostname()}"]
        if isinstance(error, BulkcertError):
            lines = [error.message, *lines, *filter(None, [error.advice])]
        elif error is None and status is not None:
            lines = [_meaning(status, self.exit_status), *lines, *_rows(status)]
        is_harmless = self.exit_status in {*ON_PURPOSE, ExitStatus.INCOMPLETE}
        kind = "success" if not self.exit_status else "warning" if is_harmless else "failure"
        threads, accepted = self._send(status, f"ended with {self.exit_status}", lines, kind)
        until = time.monotonic() + MOST_S
        with suppress(KeyboardInterrupt):  # a signal: whoever sends it does not want to wait
            for thread in threads:
                thread.join(max(0.0, until - time.monotonic()))
        for number, (thread, service) in enumerate(zip(threads, self._services, strict=True), 1):
            if number not in accepted:
                why = f"no answer within {MOST_S:.0f} s" if thread.is_alive() else _REFUSED
                self._warn(f"message {number} of {len(threads)}, by {service.service_name}, was not delivered: {why}")

    def ask(self) -> None:
        """Sends that a question is open."""
        said = f"on {gethostname()}; until then it changes nothing"
        self._send(self._status(), "waits for a confirmation", [said], "warning")

    def _status(self) -> RunStatus | None:
        with suppress(Exception):  # what is wrong with the store is said elsewhere
            return status_of(self._files, brief=True)
        return None

    def _send(
        self, status: RunStatus | None, what: str, lines: list[str], kind: str
    ) -> tuple[list[threading.Thread], set[int]]:
        """Starts to send a message; returns what sends it, and the numbers of those that have, as they come."""
        asked, accepted = status.asked if status else None, set[int]()
        about = f"{asked.action} on {asked.on}" if asked else self._about
        rehearsal = "REHEARSAL: " * (self._rehearsal or (asked is not None and asked.rehearsal))
        message = {"title": f"{rehearsal}bulkcert {self._kind} {about} {what}", "body": "\n".join(lines)}

        def deliver(number: int, service: Any) -> None:
            with suppress(Exception):  # whatever a service makes of it, the session is as it is
                if service.notify(**message, notify_type=kind):
                    accepted.add(number)

        threads = [threading.Thread(target=deliver, args=each, daemon=True) for each in enumerate(self._services, 1)]
        for thread in threads:
            thread.start()
        return threads, accepted


def _service(number: int, url: str) -> Any:
    """Returns the service that a URL means.

    Raises:
        BulkcertError: MISCONFIGURED: apprise is not installed; USAGE: it knows no such URL.
    """
    try:
        from apprise import Apprise  # noqa: PLC0415 - an extra, which few runs need
    except ImportError:
        message = "--notify needs apprise, which is not installed"
        raise BulkcertError(ExitStatus.MISCONFIGURED, message, f"No calls were made. Install it: {INSTALL}") from None
    for name in ("apprise", "urllib3"):  # what they log has the URL in it
        logging.getLogger(name).disabled = True
        logging.getLogger(name).propagate = False
    service = None
    with suppress(Exception):  # what it raises may hold the URL
        service = Apprise.instantiate(url)
    if service is None:
        raise BulkcertError(
            ExitStatus.USAGE,
            f"--notify: the URL that is given as number {number} is none that apprise knows; it is not shown: a secret",
            "No calls were made. bulkcert help notify shows what URLs look like.",
        )
    return service


def _meaning(status: RunStatus, exit_status: int) -> str:
    if status.is_undone:
        return f"UNDONE: {undone_words(status)}"
    newest = status.session
    stopped = newest.stopped if newest and newest.exit_status == exit_status else ""
    return stopped or meaning(exit_status, status.asked.rows if status.asked else 0)


def _rows(status: RunStatus) -> Iterator[str]:
    outcomes = ", ".join(f"{count:,} {spaced(outcome)}" for outcome, count in status.outcomes.items())
    if status.asked is not None:
        yield f"rows: {status.asked.rows:,}{outcomes and f': {outcomes}'}"
    if status.drifted:
        yield f"read back in another state: {status.drifted:,}"
    if status.failed is not None:
        yield f"rows left: {left_words(status.failed.absolute(), status.not_desired)}"
    yield from (f"next: {sentence(step)}" for step in steps_left(status))


@contextmanager
def waiting() -> Iterator[None]:
    """Sends that somebody is needed, where a question stays open for long."""
    if (notifier := _active.get()) is None:
        yield
        return
    timer = threading.Timer(ASKED_S, notifier.ask)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()

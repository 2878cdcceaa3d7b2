"""Where the metrics of a run go: a file for the node exporter's textfile collector, a Pushgateway, or both."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
from prometheus_client import CollectorRegistry, generate_latest, pushadd_to_gateway
from prometheus_client.exposition import basic_auth_handler

from bulkcert.engine.stats import Take
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.log import bound
from bulkcert.output.files import read_regular, write_whole
from bulkcert.output.summary import Summary
from bulkcert.runs.job import Job
from bulkcert.store.lock import is_held
from bulkcert.telemetry.metrics import Measured, is_active

EVERY_S = 15.0
"""How often they are written: as often as Prometheus scrapes, by default."""

PUSH_WITHIN_S = 5.0
"""Most seconds that a push may take; in the end the run waits for the last one so long."""

USERNAME, PASSWORD = "PUSHGATEWAY_USERNAME", "PUSHGATEWAY_PASSWORD"
"""Variables for basic authentication. Not ``BULKCERT_...``: those are options, and hints repeat them."""

READABLE = 0o644
"""The node exporter runs as another user."""


class Recorder:
    """Keeps the metrics of one session up to date, wherever they are wanted.

    Args:
        job: What the run does, and where metrics go.
        warn: Called with what went wrong; nothing that does ends the run once it has begun.
    """

    def __init__(self, job: Job, warn: Callable[[str], None]) -> None:
        self._path = job.options.metrics_file
        self._lock = job.files.lock
        self._warn = warn
        self._warned = False
        labels = (job.action.name, job.instance, _encodable(bound["job"] or ""))
        caps = {"account": job.options.rate, "address": job.options.per_address_rate, "lane": job.lane_cap}
        self._measured = Measured(labels, caps)
        self._pusher = _Pusher(job.options.pushgateway, labels, warn) if job.options.pushgateway else None
        self._take: Take | None = None
        self.summary: Summary | None = None
        """What the run came to, once it is known."""

    def begin(self) -> None:
        """Takes over what is known of the last run, and writes that a session has begun.

        Raises:
            BulkcertError: The file cannot be written.
        """
        if self._path is None and self._pusher is None:
            return
        text = self._last()
        with suppress(OSError):  # opening the run says what is wrong with it
            if is_held(self._lock) and (not text or is_active(text)):
                # They are those of a run that is running, because of which this one will be refused.
                self._path = self._pusher = None
        if self._path is None:
            return
        try:
            _write(self._path, self._measured.registry())
        except OSError as error:
            raise BulkcertError(
                ExitStatus.CANNOT_WRITE,
                f"cannot write {self._path}: {error.strerror or error}",
                "No calls were made. Name a file in a directory that can be written, or leave --metrics-file out.",
            ) from error

    def _last(self) -> str:
        """Returns the metrics of the last run, after taking over what stays; empty if there are none."""
        if self._path is None:
            return ""
        try:
            text = read_regular(self._path).decode()
            self._measured.carry_over(text)
        except FileNotFoundError:
            return ""
        except (OSError, ValueError) as error:
            self._warn(f"{self._path} cannot be read, so the time of the last success is lost: {error}")
            return ""
        return text

    async def watch(self, take: Take) -> None:
        """Writes the metrics every few seconds until cancelled."""
        self._take = take
        if self._path is None and self._pusher is None:
            return
        while True:
            await self._record()
            await anyio.sleep(EVERY_S)

    async def _record(self) -> None:
        self._measured.stats = self._take() if self._take else None
        registry = self._measured.registry()
        if self._pusher is not None:
            self._pusher.push(registry)
        await anyio.to_thread.run_sync(self._save, registry)

    def end(self, status: ExitStatus) -> None:
        """Writes how the session has ended."""
        self._measured.stats = self._take() if self._take else None
        self._measured.end(status, self.summary)
        registry = self._measured.registry()
        if self._pusher is not None:
            self._pusher.push(registry)
        self._save(registry)
        if self._pusher is not None:
            self._pusher.finish()

    def _save(self, registry: CollectorRegistry) -> None:
        if self._path is None:
            return
        try:
            _write(self._path, registry)
            self._warned = False
        except OSError as error:
            if not self._warned:
                self._warn(f"cannot write {self._path}: {error.strerror or error}; the run continues")
            self._warned = True


@contextmanager
def recording(job: Job, warn: Callable[[str], None]) -> Iterator[Recorder]:
    """Records a session from its first step to its end, whatever that is; the summary is to be given to the recorder.

    Raises:
        BulkcertError: The metrics file cannot be written; nothing was begun.
    """
    recorder = Recorder(job, warn)
    recorder.begin()
    status = ExitStatus.INTERNAL
    try:
        yield recorder
        if recorder.summary is not None:
            status = ExitStatus(recorder.summary.exit_status)
    except BulkcertError as error:
        status = error.status
        raise
    except KeyboardInterrupt:
        status = ExitStatus.INTERRUPTED
        raise
    finally:
        recorder.end(status)


def _write(path: Path, registry: CollectorRegistry) -> None:
    """Replaces a file at once; the collector passes its temporary name over: no ``.prom``."""
    write_whole(path, generate_latest(registry), mode=READABLE)


class _Pusher:
    """Pushes metrics from a thread of its own, the newest only: a gateway that hangs holds up nothing.

    Args:
        url: Of the Pushgateway.
        labels: Values of ``metrics.LABELS``.
        warn: Called with of the first of several pushes in a row that fail.
    """

    def __init__(self, url: str, labels: tuple[str, str, str], warn: Callable[[str], None]) -> None:
        self._url = url
        _action, instance, job_name = labels
        user, password = os.environ.get(USERNAME), os.environ.get(PASSWORD)
        self._push = partial(
            pushadd_to_gateway,  # what is not pushed stays: the time of a success that another run had
            url,
            job=job_name or "bulkcert",
            grouping_key={"instance": instance},
            timeout=PUSH_WITHIN_S,
            handler=partial(basic_auth_handler, username=user, password=password),
        )
        self._warn = warn
        self._warned = False
        self._next: CollectorRegistry | None = None
        self._changed = threading.Condition()
        self._over = False
        self._thread = threading.Thread(target=self._work, name="pushgateway", daemon=True)
        self._thread.start()

    def push(self, registry: CollectorRegistry) -> None:
        """Has metrics pushed as soon as may be, in place of those that still wait."""
        with self._changed:
            self._next = registry
            self._changed.notify()

    def finish(self) -> None:
        """Waits for the last push, but not long."""
        with self._changed:
            self._over = True
            self._changed.notify()
        self._thread.join(PUSH_WITHIN_S)
        if self._thread.is_alive() and not self._warned:
            self._warn(f"{self._url} did not take the last metrics within {PUSH_WITHIN_S:g} s; the run itself is done")

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._over or self._next is not None)
                registry, self._next = self._next, None
            if registry is None:
                return
            self._try(registry)

    def _try(self, registry: CollectorRegistry) -> None:
        try:
            self._push(registry=registry)
            self._warned = False
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not end the thread, nor the run
            if not self._warned:
                self._warn(
                    f"cannot push metrics to {self._url}: {getattr(error, 'reason', '') or error}; the run continues"
                )
            self._warned = True


def _encodable(text: str) -> str:
    """Returns a text that UTF-8 can hold: a file name may not be one."""
    return text.encode(errors="replace").decode()

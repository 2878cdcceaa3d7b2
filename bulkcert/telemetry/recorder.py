"""Where the metrics of a run go: a file for the node exporter's textfile collector."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import anyio
import anyio.to_thread

from bulkcert.engine.stats import Take
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.log import bound
from bulkcert.output.files import read_regular, write_whole
from bulkcert.output.summary import Summary
from bulkcert.runs.job import Job
from bulkcert.store.lock import is_held
from bulkcert.telemetry.metrics import Measured, is_active

EVERY_S = 15.0
"""How often they are written: as often as Prometheus looks, by default."""

READABLE = 0o644
"""The node exporter runs as another user."""


class Recorder:
    """Keeps the metrics of one session up to date in a file.

    Args:
        job: What the run does, and where metrics go.
        warn: Told what went wrong; nothing that does ends the run once it has begun.
    """

    def __init__(self, job: Job, warn: Callable[[str], None]) -> None:
        self._path = job.options.metrics_file
        self._lock = job.files.lock
        self._warn = warn
        self._warned = False
        # A file name may not be UTF-8, which labels are.
        name = (bound["job"] or "").encode(errors="replace").decode()
        caps = {"account": job.options.rate, "address": job.options.per_address_rate, "lane": job.lane_cap}
        self._measured = Measured((job.action.name, job.instance, name), caps)
        self._take: Take | None = None
        self.summary: Summary | None = None
        """What the run came to, once it is known."""

    def begin(self, path: Path) -> None:
        """Takes over what is known of the last run, and writes that a session has begun.

        Raises:
            BulkcertError: The file cannot be written.
        """
        text = self._last(path)
        with suppress(OSError):  # opening the run says what is wrong with it
            if is_held(self._lock) and (not text or is_active(text)):
                # They are those of a running session, beside which this one will be refused.
                self._path = None
        try:
            self._write()
        except OSError as error:
            raise BulkcertError(
                ExitStatus.CANNOT_WRITE,
                f"cannot write {self._path}: {error.strerror or error}",
                "No calls were made. Name a file in a directory that can be written, or leave --metrics-file out.",
            ) from error

    def _last(self, path: Path) -> str:
        """Returns the metrics of the last run, after taking over what stays; empty if there are none.

        Not from a store: results that have a date in their name are of another run every night.
        """
        try:
            text = read_regular(path).decode()
            self._measured.carry_over(text)
        except FileNotFoundError:
            return ""
        except (OSError, ValueError) as error:
            self._warn(f"{path} cannot be read, so the time of the last success is lost: {error}")
            return ""
        return text

    async def watch(self, take: Take) -> None:
        """Writes the metrics every few seconds until cancelled."""
        self._take = take
        while True:
            self._measured.stats = take()
            await anyio.to_thread.run_sync(self._save)
            await anyio.sleep(EVERY_S)

    def end(self, status: ExitStatus) -> None:
        """Writes how the session has ended."""
        self._measured.stats = self._take() if self._take else None
        self._measured.end(status, self.summary)
        self._save()

    def _save(self) -> None:
        try:
            self._write()
            self._warned = False
        except OSError as error:
            if not self._warned:
                self._warn(f"cannot write {self._path}: {error.strerror or error}; the run continues")
            self._warned = True

    def _write(self) -> None:
        """Replaces the file at once; the collector passes its temporary name over: no ``.prom``."""
        if self._path is not None:
            write_whole(self._path, self._measured.exposition(), mode=READABLE)


@contextmanager
def recording(job: Job, warn: Callable[[str], None]) -> Iterator[Recorder | None]:
    """Records a session from its first step to its end, whatever that is; the summary is to be given to the recorder.

    Yields:
        The recorder; None where no metrics are wanted.

    Raises:
        BulkcertError: The metrics file cannot be written; nothing was begun.
    """
    if job.options.metrics_file is None:
        yield None
        return
    recorder = Recorder(job, warn)
    recorder.begin(job.options.metrics_file)
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

"""Recording: the metrics of a session, from its first step to its end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.runs.job import ResolvedJob

if TYPE_CHECKING:
    from bulkcert.telemetry.metrics import Recorder


@contextmanager
def recording(job: ResolvedJob, warn: Callable[[str], None]) -> Iterator["Recorder | None"]:
    """Records a session from its first step to its end, whatever that is; the summary is to be given to the recorder.

    Yields:
        The recorder; None where no metrics are wanted.

    Raises:
        BulkcertError: The metrics file cannot be written; nothing was begun.
    """
    if job.options.metrics_file is None:
        yield None
        return
    from bulkcert.telemetry.metrics import Recorder  # noqa: PLC0415 - what few runs need, and costs each start

    recorder = Recorder(job, job.options.metrics_file, warn)
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

"""What machines are shown of a session: log events, metrics, messages."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from bulkcert.runs.job import ResolvedJob

if TYPE_CHECKING:
    from bulkcert.telemetry.metrics import Recorder


def recording(job: ResolvedJob, warn: Callable[[str], None]) -> AbstractContextManager["Recorder | None"]:
    """Returns the context of a session whose metrics are recorded; it has no recorder where none are wanted.

    Raises:
        BulkcertError: The metrics file cannot be written; nothing was begun.
    """
    if job.options.metrics_file is None:
        return nullcontext()
    from bulkcert.telemetry.metrics import Recorder  # noqa: PLC0415 - what few runs need, and costs each start

    return Recorder(job, job.options.metrics_file, warn)

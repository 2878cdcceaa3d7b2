"""Outcomes: what became of a row, and the record that says so."""

from enum import StrEnum
from typing import Literal

import msgspec

from bulkcert.service.actions import ca_key
from bulkcert.service.codes import Verdict


class Outcome(StrEnum):
    """What became of a row. The names are forever: results files outlive versions."""

    SUCCEEDED = "succeeded"
    """The service did it and echoed the serial."""
    UNCHANGED = "unchanged"
    """Already in the desired state; no call was made."""
    NOT_REGISTERED = "not_registered"
    """The service knows no such certificate. Not safe: it becomes active at its first connection."""
    FAILED = "failed"
    """Refused, or the attempts were used up on answers that said no."""
    UNKNOWN = "unknown"
    """Sent, and never answered: it may or may not have been done."""
    INVALID = "invalid"
    """The serial cannot be right; never sent."""
    DUPLICATE = "duplicate"
    """The same certificate as an earlier row, which is named; that row's outcome holds."""
    NOT_ATTEMPTED = "not_attempted"
    """The run stopped first; the next run takes it up."""
    PROTECTED = "protected"
    """On the list of protected serials; never sent."""
    UNDONE = "undone"
    """Changed by this run, and changed back by its undo."""


DESIRED = frozenset({Outcome.SUCCEEDED, Outcome.UNCHANGED})
"""Outcomes of a row that is in the desired state."""

ERRORS = frozenset({Outcome.FAILED, Outcome.UNKNOWN})
"""Outcomes that ``--max-errors`` counts. An unregistered certificate is a finding, not an error of the run."""

NEVER_CALLED = (Outcome.INVALID, Outcome.DUPLICATE, Outcome.PROTECTED)
"""Outcomes of rows that are not called, which the list alone decides."""

NEVER_READ = tuple(outcome for outcome in NEVER_CALLED if outcome is not Outcome.DUPLICATE)
"""Those of rows that no verification reads either; a duplicate is read as the row that it repeats."""

Retried = Literal["failed", "unknown", "not_registered", "undone", "drifted"]
"""Rows that can be called again: those with one of these outcomes, and those read back in another state."""

OUTCOME_OF: dict[Verdict, Outcome] = {
    Verdict.DONE: Outcome.SUCCEEDED,
    Verdict.NOT_FOUND: Outcome.NOT_REGISTERED,
    Verdict.FAILED: Outcome.FAILED,
    Verdict.UNRECOGNIZED: Outcome.FAILED,
    Verdict.RETRY: Outcome.FAILED,
    Verdict.THROTTLED: Outcome.FAILED,
    Verdict.SIGN_AGAIN: Outcome.FAILED,
    Verdict.NOT_SENT: Outcome.FAILED,
    Verdict.UNANSWERED: Outcome.UNKNOWN,
}
"""The outcome of a row whose last attempt got this verdict. STOP and REFRESH end the run, not the row."""


def deviation(outcome: Outcome, read_back: str | None, desired: str, *, maybe_undone: bool) -> str | None:
    """Returns in what a row is not in the desired state: the rule by which such rows are listed and explained.

    Args:
        outcome: Its outcome.
        read_back: The status that was read back since; None if none was.
        desired: The desired one.
        maybe_undone: Whether an undo may have changed it back without a trace.

    Returns:
        What it was read back as where its outcome does not say so, else an empty text; None where it is in the desired
        state as far as anybody knows, or a duplicate. (``queries.not_desired`` counts the others by the index.)
    """
    if maybe_undone:
        return ""
    if read_back is not None and (outcome in DESIRED or outcome is Outcome.NOT_ATTEMPTED):
        return None if read_back == desired else read_back
    return None if outcome in DESIRED or outcome is Outcome.DUPLICATE else ""


class Row(msgspec.Struct, frozen=True):
    """One input row that is to be called.

    Attributes:
        number: Position among the data rows, from 1.
        device_sn: Serial of the device certificate; empty for CA actions.
        ca_sn: Serial of the CA certificate.
        outcome: The outcome that it has, and that its call replaces; None without one.
        unanswered: Whether an attempt was made earlier whose answer is not known.
        instance: ID of its instance; empty where all rows are of one.
    """

    number: int
    device_sn: str
    ca_sn: str
    outcome: Outcome | None = None
    unanswered: bool = False
    instance: str = ""

    @property
    def ca(self) -> str:
        """Key of its CA."""
        return ca_key(self.ca_sn, self.instance)


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What became of one row; what there was none of is None.

    Attributes:
        row: Number of the row, from 1.
        outcome: Its outcome.
        code: Code of the last answer; ``Client.…`` where it is our own (no answer, no echo).
        message: Message of the last answer.
        http_status: Status of the last answer.
        request_id: The service's id of the last request.
        attempts: Calls made for this row in this session.
        sent_at: When the last attempt was sent, Unix time in milliseconds.
        finished_at: When its answer was complete, or given up, Unix time in milliseconds.
        latency_ms: Time from sending the last attempt to its answer, in milliseconds.
        device_sn: Serial of the device certificate; empty for CA actions.
        ca: Key of its CA (``service.actions.ca_key``).
        again: Whether the next session takes the row up again: this one stopped before its outcome was final.
        changed: Whether a call may have changed the certificate.
    """

    row: int
    outcome: Outcome
    code: str | None = None
    message: str | None = None
    http_status: int | None = None
    request_id: str | None = None
    attempts: int = 0
    sent_at: int | None = None
    finished_at: int | None = None
    latency_ms: float | None = None
    device_sn: str = ""
    ca: str = ""
    again: bool = False
    changed: bool = False


SHOWN = Record.__struct_fields__[: Record.__struct_fields__.index("device_sn")]
"""Fields of a record that results show, in this order."""

PROVED = SHOWN[: SHOWN.index("latency_ms")]
"""Those of them that a digest is over, beside the serials, and that are kept of an outcome that is replaced."""

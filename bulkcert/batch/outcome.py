"""Outcomes: what became of a row, and the record that says so."""

from enum import StrEnum
from typing import Annotated

import msgspec

from bulkcert.api.verdicts import Verdict

Millis = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799_999)]
"""Unix time in milliseconds, up to the year 9999: what is beyond was damaged on the disk."""

_Count = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]


class Outcome(StrEnum):
    """What became of a row. The names are forever: results files outlive versions."""

    SUCCEEDED = "succeeded"
    """The service did it and echoed the serial."""
    UNCHANGED = "unchanged"
    """Already in the wanted state; no call was made."""
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


WANTED = frozenset({Outcome.SUCCEEDED, Outcome.UNCHANGED})
"""Outcomes of a row that is in the wanted state."""

ERRORS = frozenset({Outcome.FAILED, Outcome.UNKNOWN})
"""Outcomes that ``--max-errors`` counts. An unregistered certificate is a finding, not an error of the run."""

RETRIED = ERRORS | {Outcome.NOT_REGISTERED}
"""Outcomes that ``--retry-failed`` takes up again."""

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


class Row(msgspec.Struct, frozen=True):
    """One input row that is to be called.

    Attributes:
        number: Position among the data rows, from 1.
        device_sn: Serial of the device certificate; empty for CA actions.
        ca_sn: Serial of the CA certificate.
    """

    number: int
    device_sn: str
    ca_sn: str


class Record(msgspec.Struct, frozen=True, omit_defaults=True, tag="row"):
    """What became of one row: one line of the journal.

    Attributes:
        row: Number of the row, from 1.
        outcome: Its outcome.
        code: Code of the last answer; ``Client.…`` where it is our own (no answer, no echo).
        message: Message of the last answer.
        http_status: Status of the last answer; 0 where there was none.
        request_id: The service's id of the last request.
        attempts: Calls made for this row in this session.
        sent_at: When the last attempt was sent, Unix time in milliseconds; 0 if none was.
        finished_at: When its answer was complete, or given up, Unix time in milliseconds.
        latency_ms: Time from sending the last attempt to its answer, in milliseconds.
        again: Whether the next run takes the row up again: the run stopped before its outcome was final.
    """

    row: int
    outcome: Outcome
    code: str = ""
    message: str = ""
    http_status: Annotated[int, msgspec.Meta(ge=0, lt=2**16)] = 0
    request_id: str = ""
    attempts: _Count = 0
    sent_at: Millis = 0
    finished_at: Millis = 0
    latency_ms: float = 0.0
    again: bool = False

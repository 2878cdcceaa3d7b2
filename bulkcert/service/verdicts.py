"""What a response can mean, and what a rule of the table of codes says."""

from enum import StrEnum
from typing import Literal

import msgspec

from bulkcert.errors import ExitStatus

StatusTable = Literal["old", "new"]
"""Which column of the vendor's status adjustment notice an emulator answers with (section 1.3b)."""


class Verdict(StrEnum):
    """What one response means for its row and for the run."""

    DONE = "done"
    """The certificate is in the desired state."""
    NOT_FOUND = "not_found"
    """No such certificate is registered."""
    FAILED = "failed"
    """Refused for a reason that lies in the row; a repeat would be refused again."""
    UNRECOGNIZED = "unrecognized"
    """A code that no table lists; the row failed, and the code is counted and shown."""
    RETRY = "retry"
    """A passing fault; the same call may work later."""
    THROTTLED = "throttled"
    """Too fast; slow down, then try again."""
    SIGN_AGAIN = "sign_again"
    """Only the nonce was refused; sign again and repeat."""
    REFRESH = "refresh"
    """The security token has expired; fetch credentials once and repeat."""
    UNANSWERED = "unanswered"
    """Sent, and no usable answer came: it may or may not have been done."""
    NOT_SENT = "not_sent"
    """No connection came about; nothing was sent."""
    STOP = "stop"
    """Every other row would be refused too; the run stops."""


class Rule(msgspec.Struct, frozen=True):
    """One code.

    Attributes:
        code: Value of ``Code``, or its beginning where the name ends in ``*``.
        verdict: What it means.
        status: HTTP status; where the vendor's adjustment changes it (section 1.3b), that before.
        message: ``Message``, verbatim where a source gives it.
        exit_status: Exit status of a run that stops for it; None unless the verdict is STOP or REFRESH.
        advice: What the operator can do about it.
        new_status: HTTP status after the adjustment; 0 where it changes nothing.
    """

    code: str
    verdict: Verdict
    status: int
    message: str
    exit_status: ExitStatus | None = None
    advice: str = ""
    new_status: int = 0

    def http_status(self, table: StatusTable) -> int:
        """Returns the HTTP status that goes with this code in one of the two tables."""
        return (table == "new" and self.new_status) or self.status

"""What a verification came to, in words, wherever it is shown."""

from collections.abc import Iterator

from bulkcert.errors import ExitStatus
from bulkcert.store.outcome import NEVER_READ
from bulkcert.store.schema import Verification
from bulkcert.words import printable

REASON_WIDTH = 200
"""Characters of a reason that are shown."""

UNREAD = {
    **{outcome.value: outcome.value for outcome in NEVER_READ},
    "refused": "refused by the service",
    "called_again": "called again since",
    "not_reached": "not reached",
}
"""Why rows were not read, in words."""


def meaning_read(verification: Verification) -> str:
    """Returns the exit status of a verification in words."""
    match verification.exit_status:
        case ExitStatus.OK:
            return "every row is in the desired state"
        case ExitStatus.INCOMPLETE if verification.not_desired:
            also = ", some were not read" if verification.unread else ""
            return f"finished, and some rows are not in the desired state{also}"
        case ExitStatus.INCOMPLETE:
            return "finished, and some rows were not read"
        case _ if verification.unread:
            return "stopped before all rows were read"
        case _:
            return "stopped"


def label_of(verification: Verification) -> str:
    """Returns ``verified``, unless nothing came of it or not all that it was to read."""
    return "verified" if verification.is_proof else "not verified"


def read_words(verification: Verification) -> str:
    """Returns on one line what a verification has read, what not, and why it ended early if it did."""
    return "; ".join(_parts(verification)) or "no rows"


def _parts(verification: Verification) -> Iterator[str]:
    if verification.stopped:
        reason = printable(verification.stopped.removesuffix("."), REASON_WIDTH)
        yield f"ended with {verification.exit_status}: {reason}"
    if verification.statuses:
        yield ", ".join(f"{count:,} {status}" for status, count in verification.statuses.items())
        yield f"{verification.not_desired:,} not in the desired state"
    if verification.unread:
        because = [f"{count:,} {UNREAD[reason]}" for reason, count in verification.unread_because.items()]
        yield f"{verification.unread:,} not read ({', '.join(because)})"

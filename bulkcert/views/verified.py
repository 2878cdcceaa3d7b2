"""What a verification came to, in words, wherever it is shown."""

from collections.abc import Iterator

from bulkcert.errors import ExitStatus
from bulkcert.language import later, tr
from bulkcert.store.outcome import NEVER_READ
from bulkcert.store.schema import Verification
from bulkcert.words import printable, spaced

REASON_WIDTH = 200
"""Characters of a reason that are shown."""

UNREAD = {
    **{outcome.value: outcome.value for outcome in NEVER_READ},
    "refused": later("refused by the service"),
    "called_again": later("called again since"),
    "not_reached": later("not reached"),
}
"""Why rows were not read, in words."""


def meaning_read(verification: Verification) -> str:
    """Returns the exit status of a verification in words."""
    match verification.exit_status:
        case ExitStatus.OK:
            return tr("every row is in the desired state")
        case ExitStatus.INCOMPLETE if verification.not_desired:
            also = tr(", some were not read") if verification.unread else ""
            return tr("finished, and some rows are not in the desired state") + also
        case ExitStatus.INCOMPLETE:
            return tr("finished, and some rows were not read")
        case _ if verification.unread:
            return tr("stopped before all rows were read")
        case _:
            return tr("stopped")


def label_of(verification: Verification) -> str:
    """Returns ``verified``, unless nothing came of it or not all that it was to read."""
    return tr("verified") if verification.is_proof else tr("not verified")


def read_words(verification: Verification) -> str:
    """Returns on one line what a verification has read, what not, and why it ended early if it did."""
    return tr("; ").join(_parts(verification)) or tr("no rows")


def _parts(verification: Verification) -> Iterator[str]:
    if verification.stopped:
        reason = printable(verification.stopped.removesuffix("."), REASON_WIDTH)
        yield tr("ended with {status}: {why}", status=verification.exit_status, why=reason)
    if verification.statuses:
        yield tr(", ").join(f"{count:,} {spaced(status)}" for status, count in verification.statuses.items())
        yield tr("{count:,} not in the desired state", count=verification.not_desired)
    if verification.unread:
        because = [f"{count:,} {tr(UNREAD[reason])}" for reason, count in verification.unread_because.items()]
        yield tr("{count:,} not read ({reasons})", count=verification.unread, reasons=tr(", ").join(because))

"""Why certificates are changed, and who has approved it, for people."""

from collections.abc import Iterator

from bulkcert.language import tr
from bulkcert.store.schema import ChangeRecord
from bulkcert.words import clock, printable

LONGEST = 300
"""Characters of a ticket, a reason or a name that are shown."""


def change_rows(change: ChangeRecord) -> Iterator[tuple[str, str]]:
    """Yields names and values of what was given."""
    given = ((tr("ticket"), change.ticket), (tr("reason"), change.reason), (tr("approved by"), change.approved_by))
    yield from ((name, printable(value, LONGEST)) for name, value in given if value)
    if plan := change.plan:
        made = {"when": clock(plan.made_at), "by": printable(plan.made_by, LONGEST)}
        yield tr("plan"), tr("{file}, made {when} by {by}", file=printable(plan.file, LONGEST), **made)
        yield tr("plan SHA-256"), plan.sha256
        if plan.signed_by:
            signed = f"{printable(plan.signed_by, LONGEST)}, {printable(plan.signed_with, LONGEST)}"
            yield tr("signed by"), signed

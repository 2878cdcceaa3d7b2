"""What a run remembers of its protected rows, so that none of them is called because an option was left out."""

from pathlib import Path

from bulkcert.actions import Action
from bulkcert.batch.index import Index
from bulkcert.batch.lines import Protected, protected_line
from bulkcert.batch.source import Check
from bulkcert.errors import BulkcertError, ExitStatus


def confirm_protection(index: Index, protect: Path | None) -> None:
    """Confirms that a run which is gone on with does not forget that rows of it are protected.

    Args:
        index: What its journal says.
        protect: The list that is given now, or None.

    Raises:
        BulkcertError: INPUT_INVALID: none is given, and rows are protected.
    """
    rows = index.protected_marks.count(1)
    if not rows or protect is not None:
        return
    raise BulkcertError(
        ExitStatus.INPUT_INVALID,
        f"{rows:,} row{' of this run is' if rows == 1 else 's of this run are'} protected by {index.protected_by}, "
        "and --protect is not given; nothing was called",
        "Give --protect and --skip-protected again; to have these rows called, name an empty list with --protect.",
    )


def to_keep(index: Index, checked: Check) -> tuple[Protected, ...]:
    """Returns the line that the journal needs so that it says which rows are protected now; none if it does."""
    if not checked.protected and not index.protected_marks.count(1):
        return ()
    line = protected_line(checked.protected_by, checked.protected_rows, checked.rows)
    marks = line.marked(checked.rows)
    return () if (line.by, marks) == (index.protected_by, index.protected_marks) else (line,)


def lifted(index: Index, checked: Check) -> int:
    """Returns how many rows a list has protected until now that may be called from now on."""
    before = index.protected_marks
    if not before.count(1):
        return 0
    settled = set(checked.settled["row"])
    return sum(mark and row not in settled and not index.is_final(row) for row, mark in enumerate(before))


def doubt(checked: Check, action: Action) -> str:
    """Returns what is not known of the devices that an action on CAs must not touch; empty if there is no doubt."""
    if action.by_device or not (count := checked.unplaced):
        return ""
    serials = f"{count:,} protected serial{' has no CaSn and is' if count == 1 else 's have no CaSn and are'} in no row"
    return (
        f"{serials}: whether a device that has {'it' if count == 1 else 'one of them'} is under these CAs is not "
        "known; plan or run with a list that has CaSn"
    )


def mistake(checked: Check) -> str:
    """Returns which protected serials were meant for rows that they do not protect; empty if none is likely to be.

    What is merely in no row is no mistake: a list that stands for good is given to run after run.
    """
    if not (count := checked.mistaken):
        return ""
    first = f"'{checked.first_mistaken}'"
    serials = f"serial {first} is" if count == 1 else f"{count:,} serials, the first {first}, are"
    return (
        f"{checked.protected_by}: the {serials} in no row to the letter, but rows differ from "
        f"{'it' if count == 1 else 'them'} only in letter case or leading zeros, and are NOT protected; write the list "
        "as the rows have it"
    )

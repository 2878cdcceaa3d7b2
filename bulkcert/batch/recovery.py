"""Opening a journal: the lock, the header that must match, and what a crash left behind."""

import fcntl
import os
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from bulkcert.batch.holding import is_held, mark_held
from bulkcert.batch.index import Index
from bulkcert.batch.journal import Journal, unwritable
from bulkcert.batch.lines import End, Header, Intent, Line, Looked, Session, decode_line, encode_lines
from bulkcert.batch.outcome import Outcome, Record
from bulkcert.errors import BulkcertError, ExitStatus

_NAMES = {
    "action": "the action",
    "instance": "the instance",
    "endpoint": "the endpoint",
    "sha256": "the content of the input (SHA-256)",
    "rows": "the number of rows",
    "keys": "the key columns",
}


def open_journal(path: Path, header: Header, session: Session, *, anew: bool = False) -> Journal:
    """Locks a journal and reads what is done; writes nothing (see ``Journal.begin``).

    Args:
        path: Where; its directory must exist.
        header: What the journal must be the record of.
        session: Who writes from now on.
        anew: Whether what it holds does not count.

    Raises:
        BulkcertError: Another run holds it, it is the record of something else, or it cannot be read or written.
    """
    try:
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        _lock(path, file)
        mark_held(file)
        journal = None if anew else _read(path, file, header, session)
    except OSError as error:
        os.close(file)
        raise unwritable(path, error) from error
    except BulkcertError:
        os.close(file)
        raise
    return journal or Journal(path, file, Index(header.rows), 0, opening=encode_lines(header, session))


def header_of(path: Path, *, writes: bool = True) -> Header:
    """Returns what a journal is the record of.

    Args:
        path: The journal.
        writes: Whether results are to be written beside it; else those that are there are read.

    Raises:
        BulkcertError: There is no such journal, or it cannot be read.
    """
    try:
        with path.open("rb") as lines:
            header = decode_line(lines.readline())
    except OSError as error:
        raise BulkcertError(
            ExitStatus.INPUT_UNREADABLE,
            f"cannot read {path}: {error.strerror or error}",
            "Name the results of a run; its journal must stand beside them under its own name.",
        ) from error
    if isinstance(header, Header):
        return header
    if writes:
        raise _no_header(path)
    raise BulkcertError(
        ExitStatus.INPUT_UNREADABLE,
        f"{path}: line 1 is not the header of a journal",
        "It is damaged, or not the journal of a run: without it nobody knows what was called. Name the results of "
        "another run, or put the journal back from a copy.",
    )


def refuse_held(path: Path) -> None:
    """Refuses a journal that a run holds, as opening it would.

    Raises:
        BulkcertError: A run holds it.
    """
    with suppress(OSError):  # opening it says what is wrong with it
        if is_held(path):
            raise _held(path)


def _held(path: Path) -> BulkcertError:
    return BulkcertError(
        ExitStatus.CANNOT_WRITE,
        f"another run holds {path}: {_holder(path)}",
        "Wait until it ends, or stop it: both runs would write the same results.",
    )


def has_protected(path: Path) -> bool:
    """Returns whether a list has protected rows of the run that a journal is the record of."""
    try:
        with path.open("rb") as lines:
            return any(text.startswith(b'{"type":"protected"') for text in lines)
    except OSError:
        return False  # opening it for the run says what is wrong with it


def _no_header(path: Path) -> BulkcertError:
    return BulkcertError(
        ExitStatus.CANNOT_WRITE,
        f"{path}: line 1 is not the header of a journal",
        "Name another results file with -o; if nothing in this one is needed, start anew with --overwrite.",
    )


def _read(path: Path, file: int, header: Header, session: Session) -> Journal | None:
    """Returns the journal with what is done, or None if nothing in it counts."""
    damaged: list[int] = []
    index = Index(header.rows)
    offset = end = 0
    with os.fdopen(os.dup(file), "rb") as lines:
        lines.seek(0)
        for number, text in enumerate(lines, start=1):
            line = decode_line(text)
            if line is not None and number > 1 and not index.fits(line):
                line = None
            if line is None:
                damaged.append(number)
            elif number > 1:
                index.take(line, offset)
            if number == 1 and text.endswith(b"\n") and (refusal := _mismatch(path, line, header)):
                if isinstance(line, Header) and not _may_have_called(lines):
                    return None
                raise refusal
            offset += len(text)
            if line is not None:
                end, last_whole = offset, number
    if end == 0:
        return None
    index.forget_look()
    inside = tuple(number for number in damaged if number < last_whole)
    index.sessions.is_damaged = bool(inside)
    index.sessions.close(looked=index.looked)
    return Journal(path, file, index, end, opening=encode_lines(session), damaged_lines=inside)


def _lock(path: Path, file: int) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise _held(path) from error
    if not os.path.samestat(os.fstat(file), path.stat()):
        # Its holder gave it up between opening and locking; what is written to it now would be gone with it.
        raise BulkcertError(
            ExitStatus.CANNOT_WRITE, f"another run has just removed {path}", "Run the same command again."
        )


def _holder(path: Path) -> str:
    """Returns who wrote the last session line, so that people find that process."""
    holder = "it has called nothing yet"
    with path.open("rb") as lines:
        for text in lines:
            if b'"session"' in text and isinstance(session := decode_line(text), Session):
                since = datetime.fromtimestamp(session.started_at / 1000, UTC)
                holder = f"process {session.pid} on {session.host}, since {since:%Y-%m-%dT%H:%M:%SZ}"
    return holder


def _may_have_called(lines: Iterable[bytes]) -> bool:
    """Returns whether something may have been changed by a call; a journal of which that is not so binds nobody."""
    looked = calling = False
    for line in map(decode_line, lines):
        match line:
            case Intent():
                return True
            case Record() if line.outcome is not Outcome.NOT_ATTEMPTED:
                return True
            case Looked():
                looked = calling = True
            case End():
                calling = False
            case Session() if calling:
                break
            case Session():
                calling = looked
    # A session that came to call and has no end was killed: its last calls have no lines.
    return calling


def same_service(endpoint: str, other: str) -> bool:
    """Returns whether two endpoints lead to one service: a region's two hosts, public and VPC, do."""
    return endpoint.replace("//onsmqtt-vpc.", "//onsmqtt.") == other.replace("//onsmqtt-vpc.", "//onsmqtt.")


def _differs(found: Header, wanted: Header, field: str) -> bool:
    if field == "endpoint":
        return not same_service(found.endpoint, wanted.endpoint)
    return bool(getattr(found, field) != getattr(wanted, field))


def _mismatch(path: Path, found: Line | None, wanted: Header) -> BulkcertError | None:
    """Returns why a journal with this first line cannot be gone on with, or None if it can."""
    if not isinstance(found, Header):
        return _no_header(path)
    differing = [
        f"{name} ({getattr(found, field)} there, {getattr(wanted, field)} now)"
        for field, name in _NAMES.items()
        if _differs(found, wanted, field)
    ]
    if not differing:
        return None
    return BulkcertError(
        ExitStatus.INPUT_INVALID,
        f"{path} is the journal of another run; it differs in {', '.join(differing)}",
        "Nothing was called. Name another results file with -o; --overwrite drops what the other run has done.",
    )

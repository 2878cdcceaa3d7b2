"""What goes over all rows while other things must happen: signals, snapshots, credentials that are renewed."""

import threading
from collections import Counter
from types import SimpleNamespace

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkcert.actions import ACTIONS
from bulkcert.api.certificates import Status
from bulkcert.batch.engine import journaling
from bulkcert.batch.lines import NUMBER_OF, Header, Look, Looked, Seen, session_line
from bulkcert.batch.look.first import ROWS_OF_A_LINE, LookFirst
from bulkcert.batch.look.sightings import Sightings
from bulkcert.batch.marks import rows_marked
from bulkcert.batch.outcome import Outcome, Record
from bulkcert.batch.recovery import open_journal
from bulkcert.batch.verification import ROWS_AT_ONCE, Verifying

PARTS = 4
ROWS = PARTS * max(ROWS_AT_ONCE, ROWS_OF_A_LINE) - 1
ACTION = ACTIONS["inactivate-device"]
CHANGED = range(100, ROWS, ROWS // PARTS)
"""A row in each part of the list."""


@pytest.fixture
def journal(tmp_path):
    """The journal of a run over a long list of rows that a look has settled."""
    header = Header(ACTION.name, "i", "https://h", "00" * 32, ROWS, ("DeviceSn", "CaSn"), "1")
    opened = open_journal(tmp_path / "j", header, session_line(0, "1"))
    for line in (Looked(1), *(Record(row, Outcome.UNCHANGED) for row in range(1, ROWS + 1))):
        opened.index.take(line, 0)
    opened.begin()
    yield opened
    opened.close()


@pytest.fixture
def sightings():
    """The list as it was seen: inactive, but for a row in each part."""
    found = Sightings(ROWS, (), by_device=True, since=0)
    for row in range(1, ROWS + 1):
        found.see_row(row, Status.ACTIVE if row in CHANGED else Status.INACTIVE, 5)
    return found


def verifying(journal):
    finished = SimpleNamespace(
        action=ACTION, journal=journal, header=SimpleNamespace(instance="i"), check=SimpleNamespace(rows=ROWS)
    )
    return Verifying(finished, SimpleNamespace(workers=1))


def turns_of_lines(journal, work):
    """Does work beside the journal; returns its lines, and the turn that something else had come to at each."""
    turns, appended, append = 0, [], journal.append

    async def noted(line):
        appended.append((line, turns))
        await append(line)

    async def take_turns():
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async def beside():
        async with journaling(journal, SimpleNamespace(stop=None)), anyio.create_task_group() as group:
            group.start_soon(take_turns)
            await work()
            group.cancel_scope.cancel()

    journal.append = noted
    anyio.run(beside)
    return appended


def test_what_was_read_back_is_kept_in_parts(journal, sightings):
    """Between two parts of a list that is compared with the look before, others have their turn."""
    for row in range(1, ROWS + 1):
        journal.index.take(Seen(row, NUMBER_OF[Status.INACTIVE], 1), 0)
    appended = turns_of_lines(journal, lambda: verifying(journal)._keep(sightings, changes_only=True))

    assert [line for line, _ in appended] == [Seen(row, NUMBER_OF[Status.ACTIVE], 5) for row in CHANGED]
    assert len({turn for _, turn in appended}) == PARTS


def test_what_a_later_look_opens_is_kept_in_parts(journal, sightings):
    """Between two parts of a list that is looked at again, others have their turn."""
    progress = SimpleNamespace(outcomes=Counter())
    job, check = SimpleNamespace(action=ACTION), SimpleNamespace(rows=ROWS)
    look = LookFirst(SimpleNamespace(progress=progress), job, check, journal)
    appended = turns_of_lines(journal, lambda: look._open_again(sightings))

    opened = [line.first + place for line, _ in appended for place, digit in enumerate(line.statuses) if digit != "0"]
    assert all(isinstance(line, Look) for line, _ in appended)
    assert opened == [*CHANGED]
    assert progress.outcomes == {Outcome.UNCHANGED: ROWS - PARTS}
    assert len({turn for _, turn in appended}) == PARTS
    assert [row for row in range(1, ROWS + 1) if not journal.index.is_final(row)] == opened


def test_what_is_called_again_is_looked_for_off_the_loop(journal, sightings, monkeypatch):
    """A watch judges each row that is not as wanted in another thread; those it may call are found, no others."""
    judged, verification = [], verifying(journal)
    protected = CHANGED[1]
    journal.index.protected_marks = bytes(row == protected for row in range(ROWS + 1))
    may_call = Verifying._may_call

    def noted(self, row):
        judged.append((row, threading.get_ident()))
        return may_call(self, row)

    called = []

    async def run(_engine, batches):
        called.extend(row.number for batch in batches for row in batch)

    monkeypatch.setattr(Verifying, "_may_call", noted)
    monkeypatch.setattr("bulkcert.batch.verification.Engine.run", run)
    verification.finished.batches = lambda: iter([[SimpleNamespace(number=row) for row in range(1, ROWS + 1)]])
    acted = anyio.run(verification._act, None, sightings)

    assert [row for row, _ in judged] == [*CHANGED]
    assert threading.get_ident() not in {thread for _, thread in judged}
    assert called == [row for row in CHANGED if row != protected]
    assert acted.bit_count() == verification.called_again.bit_count() == len(called)
    assert [row for row in range(1, ROWS + 1) if journal.index.is_again(row)] == called


@given(st.binary(min_size=1, max_size=30), st.integers(0, 255), st.integers(1, 31), st.none() | st.integers(0, 31))
def test_rows_that_are_marked(marks, mark, first, last):
    """Those between first and last that have the mark, in order; row 0 is none."""
    rows = range(first, min(len(marks) - 1 if last is None else last, len(marks) - 1) + 1)

    assert [*rows_marked(marks, mark, first, last)] == [row for row in rows if marks[row] == mark]

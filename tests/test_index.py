"""What a journal comes to when a run looks again: right after a kill at any moment, whatever was seen and called."""

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulkcert.batch.index import Index
from bulkcert.batch.lines import NOT_SEEN, Header, Intent, Look, Looked, Looking, Seen, encode_lines, session_line
from bulkcert.batch.outcome import Outcome, Record
from bulkcert.batch.recovery import open_journal

ROWS = 12
HEADER = Header("inactivate-device", "post-cn-1", "https://h", "00" * 32, ROWS, ("DeviceSn", "CaSn"), "1")
SESSION = session_line(1_700_000_000_000, "1")
ACTIVE, INACTIVE = 1, 2
STATUSES = st.lists(st.sampled_from([0, ACTIVE, INACTIVE, 3]), min_size=ROWS, max_size=ROWS)
NEWER = st.lists(st.sampled_from([NOT_SEEN, ACTIVE, INACTIVE, 3]), min_size=ROWS, max_size=ROWS)


def taken(*lines):
    """Returns an index that has taken in these lines."""
    index = Index(ROWS)
    for line in lines:
        index.take(line, 0)
    return index


def looks(statuses, rows_of_a_line):
    """Returns the lines of a look at all rows."""
    digits = "".join(map(str, statuses))
    starts = range(0, ROWS, rows_of_a_line)
    return [Look(start + 1, digits[start : start + rows_of_a_line]) for start in starts]


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    first=STATUSES,
    newer=NEWER,
    called=st.sets(st.integers(1, ROWS)),
    places=st.tuples(st.integers(1, ROWS), st.integers(0, 60)),
)
def test_a_later_look_that_is_cut_off_anywhere(tmp_path_factory, first, newer, called, places):
    """A row keeps what was seen of it last before it could be called; what is opened again stays open; none is lost."""
    rows_of_a_line, cut = places
    unchanged = [row for row, seen in enumerate(first, 1) if seen == INACTIVE]
    begun = [row for row in sorted(called) if row not in unchanged]
    opened = {row: newer[row - 1] for row in unchanged if newer[row - 1] != INACTIVE}
    before = [
        *(SESSION, Looking(1), *looks(first, rows_of_a_line)),
        *(Record(row, Outcome.UNCHANGED) for row in unchanged),
        Looked(5),
        *(Record(row, Outcome.SUCCEEDED, attempts=1) for row in begun),
    ]
    again = [SESSION, *looks([opened.get(row, 0) for row in range(1, ROWS + 1)], rows_of_a_line), Looked(9)]
    after = [Record(row, Outcome.SUCCEEDED, attempts=1) for row in opened]
    kept = [*before, *[*again, *after][:cut]]
    path = tmp_path_factory.mktemp("again") / "j"
    path.write_bytes(encode_lines(HEADER, *kept))

    journal = open_journal(path, HEADER, SESSION)
    index = journal.index
    told = {
        line.first + place
        for line in kept[len(before) :]
        if isinstance(line, Look)
        for place in range(len(line.statuses))
    }
    for row in range(1, ROWS + 1):
        is_open = row in opened and row in told
        assert index.prior[row] == (opened[row] % NOT_SEEN if is_open else first[row - 1])
        done = any(isinstance(line, Record) and line.row == row and line.attempts for line in kept)
        assert index.is_final(row) == (done or (row in unchanged and not is_open))
    assert index.looked_at == (9 if Looked(9) in kept else 5)
    journal.close()


EVENTS = st.one_of(
    st.builds(
        Record,
        st.integers(1, ROWS),
        st.sampled_from(Outcome),
        attempts=st.integers(0, 1),
        again=st.booleans(),
    ),
    st.builds(Look, st.just(1), st.text("0129", min_size=ROWS, max_size=ROWS)),
    st.sampled_from([Looking(1), Looked(5)]),
    st.sets(st.sampled_from(Outcome)),
    st.sets(st.integers(1, ROWS)),
)
"""Lines of a journal, outcomes that are taken up again, and rows that are."""


def happen(index, event):
    """Lets an index take in a line, or take up again outcomes or rows."""
    if not isinstance(event, set):
        index.take(event, 0)
    elif all(isinstance(one, Outcome) for one in event):
        index.reopen(event)
    else:
        index.reopen_rows(event)


@given(st.lists(EVENTS, max_size=40))
def test_the_counts_are_those_of_the_rows(events):
    """Whatever has been read, found and taken up again, the index counts what its rows say one by one."""
    index = Index(ROWS)
    for event in events:
        happen(index, event)
        final = Counter(index.outcome(row) for row in range(1, ROWS + 1) if index.is_final(row))
        assert index.settled() == final
        assert index.final == final.total()
        assert index.unchanged == final[Outcome.UNCHANGED]
        assert index.again == sum(index.is_again(row) for row in range(1, ROWS + 1))


def test_counting_reads_no_row():
    """The counts are asked for while calls go on: they take no longer where there are more rows."""
    index = taken(Record(1, Outcome.SUCCEEDED, attempts=1))
    index._state = None

    assert (index.final, index.again, index.unchanged, index.settled().total()) == (1, 0, 0, 1)


def test_a_first_look_that_is_cut_off():
    """Before any call may have been made, a look without an end counts for nothing."""
    index = taken(Looking(1), Look(1, "12"), Record(2, Outcome.UNCHANGED))
    index.forget_look()

    assert index.prior == bytearray(ROWS + 1)
    assert not index.is_final(2)
    assert not index.looked


@pytest.mark.parametrize("line", [Record(1, Outcome.FAILED, attempts=1), Intent(1)])
def test_calls_without_the_end_of_the_look(line):
    """Where a call was made, or may have been, the look was over, though its line was damaged: it is not made anew."""
    index = taken(Looking(1), Look(1, "12"), Record(2, Outcome.UNCHANGED), line)
    index.forget_look()

    assert index.looked
    assert index.looked_at == 0, "as old as can be, so that what it has settled is looked at again"
    assert [index.prior[row] for row in (1, 2)] == [ACTIVE, INACTIVE]
    assert index.is_final(2)


def test_only_rows_with_a_line_are_taken_up_again():
    """A row that has no line has nothing to take up, and no line to be read."""
    index = taken(Record(2, Outcome.SUCCEEDED, attempts=1))
    index.reopen_rows([1, 2])

    assert index.again == 1
    assert [*index.rows_with_lines(1, ROWS)] == [2]
    assert [index.is_again(row) for row in (1, 2)] == [False, True]


@pytest.mark.parametrize(
    "damaged",
    [
        b'{"type":"row","row":1,"outcome":"failed","message":"\xff"}\n',
        b'{"type":"row","row":1,"outcome":"failed","http_status":70000}\n',
        b'{"type":"row","row":1,"outcome":"failed","sent_at":900000000000000}\n',
        b'{"type":"row","row":1,"outcome":"failed","attempts":-1}\n',
        b'{"type":"seen","row":1,"status":5,"at":1}\n',
        b'{"type":"seen","row":1,"status":0,"at":1}\n',
        b'{"type":"look","first":1,"statuses":"15"}\n',
        b'{"type":"look","first":12,"statuses":"11"}\n',
        '{"type":"look","first":1,"statuses":"1\u0661"}\n'.encode(),
        b'{"type":"look","first":1,"statuses":"1\\n"}\n',
    ],
)
def test_a_line_that_cannot_be_right_is_damaged(tmp_path, damaged):
    """A flipped bit costs its own line, whatever it makes of it; never a traceback, here or in the results."""
    good = encode_lines(Record(3, Outcome.SUCCEEDED, attempts=1), Seen(3, INACTIVE, 5))
    (tmp_path / "j").write_bytes(encode_lines(HEADER, SESSION) + damaged + good)
    journal = open_journal(tmp_path / "j", HEADER, SESSION)

    assert journal.damaged_lines == (3,)
    assert [row for row in range(1, ROWS + 1) if journal.index.outcome(row)] == [3]
    journal.close()

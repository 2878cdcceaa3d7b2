"""Whether a run ended in order, as its journal tells."""

import pytest

from bulkcert.batch.ended import own_end
from bulkcert.batch.lines import End, Header, Seen, encode_lines, session_line
from bulkcert.batch.outcome import Outcome, Record

HEADER = Header("inactivate-device", "post-cn-i", "http://127.0.0.1:9", "0" * 64, 3, ("DeviceSn", "CaSn"), "0.1.0")
RUN, VERIFY = session_line(1, "0.1.0"), session_line(2, "0.1.0", verifies=True)
QUOTED = 'it said \n{"type":"session","pid":1'
ROW = Record(1, Outcome.FAILED, "Code", QUOTED, 400, "id", 1, 1, 2, 1.0, False)
SEEN, END, LATER = Seen(1, 1, 5), End(3), End(4)


@pytest.mark.parametrize(
    ("lines", "end"),
    [
        ((), None),
        ((RUN,), None),
        ((RUN, ROW), None),
        ((RUN, ROW, END), END),
        ((RUN, END, RUN, ROW), None),
        ((RUN, ROW, RUN, ROW, LATER), LATER),
        ((RUN, END, VERIFY, SEEN), END),
        ((RUN, END, VERIFY, VERIFY, SEEN, LATER), END),
        ((RUN, ROW, VERIFY, SEEN, LATER), None),
        ((RUN, END, *[ROW] * 9000, RUN, ROW, END, VERIFY, *[SEEN] * 90_000), END),
        ((VERIFY, LATER), None),
    ],
)
def test_its_own_newest_session_counts(tmp_path, lines, end):
    """Verifications are left out, ended or killed, however long the journal is; what a kill has torn ends nothing."""
    journal = tmp_path / "r.csv.journal"
    journal.write_bytes(encode_lines(HEADER, *lines))
    assert own_end(journal) == end
    with journal.open("ab") as file:
        file.write(b'{"type":"ro')
    assert own_end(journal) == (None if lines and lines[-1] is end else end)


def test_no_journal(tmp_path):
    """An empty file, or one that is no journal, is no run that ended."""
    for content in (b"", b"rubbish", b'\n{"type":"session"', encode_lines(END)):
        (tmp_path / "r.csv.journal").write_bytes(content)
        assert own_end(tmp_path / "r.csv.journal") is None

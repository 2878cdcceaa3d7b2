"""Which rows a killed session may have called without a trace: what journal, undo, summary and report go by."""

import json

import pytest
from program import UNHURRIED, here, summary_of

from bulkcert.api.certificates import Status
from bulkcert.batch.engine import FORESEEN_CALLS
from bulkcert.batch.index import Index
from bulkcert.batch.lines import End, Looked, Reach, Session, session_line
from bulkcert.batch.look.first import LookFirst
from bulkcert.batch.outcome import Outcome, Record

ROWS = 1000
RUN = session_line(1, "0.1.0")
OLD = Session(1, "host", 1, "0.1.0")
"""A session from before journals said how far calls may go."""
VERIFIED = session_line(3, "0.1.0", verifies=True)
DONE = [Record(row, Outcome.SUCCEEDED, attempts=1, finished_at=2) for row in range(1, 101)]

JOURNALS = {
    "killed": ([RUN, Looked(1), Reach(500), *DONE], 500),
    "killed before it had looked": ([RUN], 0),
    "killed, by an earlier version": ([OLD, Looked(1), *DONE], ROWS),
    "that, gone on with": ([OLD, Looked(1), *DONE, RUN, Reach(700), End(9)], ROWS),
    "ended": ([RUN, Looked(1), Reach(500), *DONE, End(9)], 0),
    "ended, then killed early": ([RUN, Looked(1), Reach(900), *DONE, End(9), RUN, Reach(600)], 600),
    "killed early, then ended": ([RUN, Looked(1), Reach(300), RUN, Reach(900), *DONE, End(9)], 300),
    "killed, then verified": ([RUN, Looked(1), Reach(500), *DONE, VERIFIED, End(9)], 500),
    "killed, then a verification was": ([RUN, Looked(1), Reach(500), *DONE, VERIFIED], 500),
}


@pytest.mark.parametrize(("lines", "last"), JOURNALS.values(), ids=JOURNALS)
def test_what_a_journal_tells(lines, last):
    """Only what killed sessions have foreseen is in doubt; all of it where a journal does not say."""
    index = Index(ROWS)
    for line in lines:
        index.take(line, 0)
    index.sessions.close(looked=index.looked)

    assert index.sessions.foreseen == last
    changed = index.changed(Status.ACTIVE)
    assert [row for row in range(1, ROWS + 1) if changed[row]] == [
        *range(1, max(last, 100 if DONE[0] in lines else 0) + 1)
    ]


def test_the_rows_that_are_foreseen():
    """So many open rows behind a row, wherever they lie; what has its outcome does not count."""
    index = Index(200_000)
    for row in range(1, 190_001):
        if row % 1000:
            index.take(Record(row, Outcome.UNCHANGED), 0)

    assert index.after_open(0, 1) == 1000
    assert index.after_open(1000, 100) == 101_000
    assert index.after_open(189_000, 10) == 190_009
    assert index.after_open(190_000, 500) == 190_500
    assert index.after_open(190_000, 50_000) == 200_000


def cut_off(journal, keep):
    """Leaves of a journal what a kill would have, after so many rows with an outcome."""
    lines, rows = [], 0
    for line in journal.read_text().splitlines():
        rows += '"type":"row"' in line and '"attempts":1' in line
        if rows > keep:
            break
        lines.append(line)
    journal.write_text("\n".join(lines) + "\n")


def append(path, text):
    with path.open("a") as file:
        file.write(text)


@pytest.fixture
def listed(tmp_path, service, inside):
    """Returns a function that lists and registers devices of a CA of their own, and returns them with the command."""

    def make(count, *, active=None):
        name = tmp_path.name[-20:]
        devices = [(f"{name}{number}", f"{name}ca") for number in range(count)]
        (tmp_path / "d.csv").write_text("DeviceSn,CaSn\n" + "".join(f"{device},{ca}\n" for device, ca in devices))
        service.seed(devices, "1")
        if active is not None:
            service.seed(devices[:-active], "0")
        return devices, ("run", "inactivate-device", "d.csv", *service.looking, "-q", "-o", "r.csv")

    return make


def test_a_watch_foresees_nothing(tmp_path, service, listed):
    """A row far down that a watch calls again does not put the rows before it in doubt, which nobody has called."""
    devices, command = listed(8 * FORESEEN_CALLS)
    service.seed(devices[-1:], "0")
    here(*command, "--limit-rows", "20").ended(75)
    cut_off(tmp_path / "r.csv.journal", 20)
    here(*command, "--limit-rows", "0").ended(75)
    service.seed(devices[-1:], "1")
    here("verify", "r.csv", "--watch", "1s", "--every", "1s", "--yes", *UNHURRIED)

    assert service.states(devices[-1:]) == ["0"]
    undone = here("undo", "r.csv", "--yes", "--no-include-unknown", *UNHURRIED, "--json").ended(0)
    assert json.loads(undone.stdout)["rows"] <= FORESEEN_CALLS + 21


def test_killed_after_an_undo(tmp_path, service, listed):
    """What a session may have called that was killed after the undo is not told as taken back; undo does it again."""
    devices, command = listed(60)
    here(*command).ended(0)
    cut_off(tmp_path / "r.csv.journal", 40)
    here(*command, "--limit-rows", "0").ended(75)
    here("undo", "r.csv", "--yes", *UNHURRIED).ended(0)
    assert service.states(devices) == ["1"] * 60
    assert summary_of("r.csv")["taken_back"]["rows"] == 60

    later = {
        "type": "session",
        "pid": 1,
        "host": "h",
        "started_at": 4_000_000_000_000,
        "version": "1",
        "foresees": True,
    }
    append(
        tmp_path / "r.csv.journal",
        f"{json.dumps({'type': 'session'} | later)}\n{json.dumps({'type': 'reach', 'row': 60})}\n",
    )
    service.seed(devices[40:], "0")  # by its calls
    here(*command, "--limit-rows", "0").ended(75)

    assert summary_of("r.csv")["taken_back"]["standing"] == 40
    assert summary_of("r.csv")["taken_back"]["called_since"] is True
    here("undo", "r.csv", "--yes", "--overwrite", *UNHURRIED).ended(0)
    assert service.states(devices) == ["1"] * 60


def test_an_undo_that_only_looked(tmp_path, service, listed):
    """An undo that was refused while it looked has taken nothing back, and leaves no mark (77)."""
    devices, command = listed(250)
    here(*command).ended(0)
    service.tell("faults", shares={"ListDeviceCertificateByCaSn:SignatureDoesNotMatch": 1.0}, seed=1)
    here("undo", "r.csv", "--yes", *UNHURRIED).ended(77)
    service.tell("faults", shares={}, seed=1)

    assert service.states(devices) == ["0"] * 250
    assert summary_of("r.csv")["taken_back"] is None


def test_the_undo_that_is_offered_works(tmp_path, service, listed):
    """Also after a watch has called what nobody had seen before, and where a called row was protected since."""
    devices, command = listed(4)
    append(tmp_path / "d.csv", f"{devices[0][0]}x,{devices[0][1]}\n")
    here(*command).ended(1)
    service.seed([(f"{devices[0][0]}x", devices[0][1])])
    here("verify", "r.csv", "--watch", "2s", "--every", "1s", "--yes", *UNHURRIED)
    report = json.loads(here("report", "r.csv", "--format", "json").ended(0).stdout)

    [step] = [step for step in report["verdict"]["steps"] if "bulkcert undo" in step]
    assert "--include-unknown" in step


def test_a_list_that_is_changed_during_the_look(tmp_path, service, listed, monkeypatch):
    """A list that somebody appends to while the run looks is refused (65), not an internal error."""
    _, command = listed(300)
    look = LookFirst.look

    async def changed(self, frames, batches):
        append(tmp_path / "d.csv", "later,ca\n")
        await look(self, frames, batches)

    monkeypatch.setattr(LookFirst, "look", changed)

    assert "changed while it was in use" in here(*command).ended(65).stderr

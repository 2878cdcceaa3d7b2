"""``verify --watch``: when it looks again, whom it calls, and that all it did is told."""

import re
from contextlib import asynccontextmanager
from types import SimpleNamespace

import anyio
import msgspec
import pytest
from program import PATIENCE_S, UNHURRIED, here, outcomes, read_results, start, summary_of, wait_for, write_devices
from stored import ask, change, kill, status
from watching import watch

from bulkcert.engine import failures, lanes
from bulkcert.engine.session import Supervision
from bulkcert.engine.states import Scanned
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.runs import verify
from bulkcert.runs.verify import Verifier
from bulkcert.service.credentials import FixedCredentials
from bulkcert.service.signing import Credentials
from bulkcert.store import queries
from bulkcert.store.status import State

pytestmark = pytest.mark.usefixtures("inside")

WATCH = ("--yes", "--every", "1s", *UNHURRIED)
READ, CALL = "GetDeviceCertificate", "InactivateDeviceCertificate"


@pytest.fixture
def made(tmp_path, service):
    """Returns a function that runs over ten active devices of a CA of their own, and returns them and the command."""

    def make(*options, status=0, unregistered=0):
        devices = write_devices("d.csv", 10, name=tmp_path.name[:24])
        service.seed(devices[unregistered:])
        command = ("run", "inactivate-device", "d.csv", *service.looking, "-q", "-o", "r.csv")
        here(*command, *options).ended(status)
        return devices, command

    return make


class Rounds(Verifier):
    """A watch of one row for 100 seconds, whose looks fail as told and whose calls are in vain; a look takes a second.

    Attributes:
        now: Its clock.
        pauses: Those that it made.
    """

    failures: list = msgspec.field(default_factory=list)
    looks: int = 0
    now: float = 0.0
    pauses: list = msgspec.field(default_factory=list)

    def pause(self, seconds):
        self.now += seconds
        self.pauses.append(seconds)
        return anyio.move_on_after(0)

    def _expected(self):
        return SimpleNamespace(forget=lambda: None, statuses=b"")

    async def _scan(self, _lanes, _sightings):
        self.looks += 1
        self.now += 1
        self.scanned = Scanned(self.failures.pop(0) if self.failures else None)

    def _keep(self, _sightings, _everything):
        pass

    async def _act(self, _lanes, _sightings):
        return {1}


def rounds(*failures):
    service = SimpleNamespace(addresses=(None,), rate=1.0, workers=1)
    opened = SimpleNamespace(store=SimpleNamespace(failure=None), asked=SimpleNamespace(rows=1), begin=lambda *_: None)
    return Rounds(opened, service, SimpleNamespace(watch=100, every=30), failures=list(failures))


@pytest.fixture
def watched(monkeypatch):
    """Returns a function that lets a watch go on to its end, on its own clock."""

    @asynccontextmanager
    async def session(*_arguments, **_options):
        yield SimpleNamespace(stopping=anyio.Event())

    monkeypatch.setattr(verify, "session", session)

    def watch(rounds):
        monkeypatch.setattr(verify, "time", SimpleNamespace(monotonic=lambda: rounds.now, time=lambda: rounds.now))
        # Its loop runs on the real clock: a pause is over at once.
        patched = SimpleNamespace(**{**vars(anyio), "move_on_after": rounds.pause})
        monkeypatch.setattr(verify, "anyio", patched)
        anyio.run(rounds.read, Supervision(FixedCredentials(Credentials("id", "secret")), (), None))
        return rounds

    return watch


@pytest.mark.parametrize(
    ("failures", "looks", "stop"),
    [
        ([], 6, None),
        ([ExitStatus.UNAVAILABLE], 6, None),
        ([ExitStatus.UNAVAILABLE] * 9, 6, ExitStatus.UNAVAILABLE),
        ([ExitStatus.DENIED], 1, ExitStatus.DENIED),
    ],
)
def test_rounds(watched, failures, looks, stop):
    """A row that was called is looked at again at once; called in vain it waits for --every, the last time less.

    One bad answer does not end a watch, nor is it told of once a later look went well; what fails to the end is why it
    ended; what will be refused in each round is not asked for in each round.
    """
    ended = watched(rounds(*(BulkcertError(status, "no answer") for status in failures)))

    assert (ended.looks, ended.stop and ended.stop.status) == (looks, stop)
    assert failures or ended.pauses == [0, 30, 30, 30, 5]


def test_all_that_was_called_is_told_though_the_last_look_fails(tmp_path, service, made):
    """77, and results, summary and store hold what was called before the permission was withdrawn."""
    devices, _ = made(unregistered=3, status=1)
    service.seed(devices[:3])

    def called_and_read():
        return ask("r.csv", queries.counts, 10).outcomes == {"succeeded": 10} and ask(
            "r.csv", queries.count, queries.READ_BACK
        )

    with start("verify", "r.csv", *WATCH, "--watch", "1h", "--attempts", "1") as watching:
        wait_for(watching, called_and_read)
        with service.faulty(NoPermission=1.0):
            stdout, stderr = watching.communicate(timeout=PATIENCE_S)

    assert watching.returncode == 77, stderr
    assert outcomes("r.csv") == {"succeeded": 10}
    assert summary_of("r.csv")["outcomes"] == {"succeeded": 10}
    assert "verified_status" in read_results("r.csv")[0]
    newest = status("r.csv").session
    assert (newest.kind, newest.exit_status) == ("verify", 77)
    assert newest.ended_at is not None
    assert b"3 certificates" in stdout


def test_a_service_that_goes_silent(tmp_path, service, made, monkeypatch):
    """A silence that ends a run is waited for by a watch, which then calls what connected meanwhile."""
    devices, _ = made(unregistered=10, status=1)
    monkeypatch.setattr(failures, "SILENCE_S", 0.0)
    monkeypatch.setattr(lanes, "PAUSE_S", 0.1)
    service.tell("faults", shares={f"{READ}:drop-before": 1.0}, seed=1)
    arrived = service.report().operations.get(READ, 0)

    def return_with_devices():
        wait_for(None, lambda: service.report().operations.get(READ, 0) >= arrived + 2 * failures.IN_A_ROW)
        service.seed(devices)
        service.tell("faults", shares={}, seed=1)
        wait_for(None, lambda: service.states(devices) == ["0"] * 10)

    watch("r.csv", return_with_devices).ended(0)


def test_what_the_run_has_not_come_to(tmp_path, service, made):
    """1: a watch calls no row that the run was kept from calling, and says how to go on with those."""
    devices, _ = made("--limit-rows", "4", status=75)
    service.seed(devices[:1])
    left = ["0"] * 4 + ["1"] * 6
    watched = watch("r.csv", lambda: wait_for(None, lambda: service.states(devices) == left)).ended(1)

    assert re.sub(r"warning: above .*\n", "", watched.stderr) == "to resume: bulkcert resume r.csv\n"
    assert service.states(devices) == left
    assert outcomes("r.csv") == {"succeeded": 4, "not_attempted": 6}


def test_summary_and_results_agree(tmp_path, service, made):
    """What turns active is switched off again; results and summary say so, and the run's own command keeps that."""
    devices, command = made(unregistered=2, status=1)
    service.seed([*devices[:2], devices[4]])
    watch("r.csv", lambda: wait_for(None, lambda: service.states(devices) == ["0"] * 10)).ended(0)
    summary = summary_of("r.csv")

    assert summary["outcomes"] == outcomes("r.csv") == {"succeeded": 10}
    assert summary["exit_status"] == 0
    assert summary["verification"]["called_again"] == 3
    rows = read_results("r.csv")
    assert {row["verified_status"] for row in rows} == {"inactive"}
    here(*command).ended(0)
    assert summary_of("r.csv")["verification"] == summary["verification"]
    assert read_results("r.csv") == rows


def test_what_was_called_after_it_was_verified(tmp_path, service, made):
    """A row that was called since is not verified any more, and the summary does not say that all are."""
    devices, command = made(unregistered=1, status=1)
    here("verify", "r.csv", *UNHURRIED).ended(1)
    service.seed(devices[:1])
    here(*command, "--retry", "not_registered").ended(0)

    rows = read_results("r.csv")
    assert [row["verified_status"] for row in rows] == ["", *["inactive"] * 9]
    assert rows[0]["verified_at"] == ""
    assert summary_of("r.csv")["verification"] is None


@pytest.mark.parametrize(
    ("options", "told"), [(("--watch", "60d"), "30d at most"), (("--watch", "1m", "--every", "0s"), "1s at least")]
)
def test_limits(tmp_path, made, options, told):
    """2: longer than times are counted for, or without a pause."""
    made()
    assert told in here("verify", "r.csv", "--yes", *options).ended(2).stderr


def test_what_was_undone_is_left_alone(service, made):
    """A watch never calls what an undo has undone, nor is that offered; what is left of the run it calls."""
    devices, _ = made("--limit-rows", "6", status=75)
    here("undo", "r.csv", "--yes", "--limit-rows", "4", "-q", *UNHURRIED).ended(75)
    service.seed(devices[4:6], "1")
    before = service.report().operations[CALL]
    left = ["1"] * 4 + ["0"] * 2 + ["1"] * 4
    told = watch("r.csv", lambda: wait_for(None, lambda: service.states(devices) == left)).ended(1)

    assert service.report().operations[CALL] == before + 2
    assert "the run was undone, wholly or in part" in told.stderr
    assert outcomes("r.csv") == {"undone": 4, "succeeded": 2, "not_attempted": 4}


def test_a_watch_whose_time_is_over(service, made):
    """It reads once more, and calls nothing."""
    devices, _ = made()
    here("verify", "r.csv", "-q", *UNHURRIED).ended(0)
    change(
        "r.csv",
        """UPDATE session SET options = json_set(options, '$.watch', 60.0), started_at = 1
        WHERE kind = 'verify'""",
    )
    kill("r.csv")
    service.seed(devices[:1], "1")
    before = service.report().operations[CALL]
    here("resume", "r.csv").ended(1)
    assert service.report().operations[CALL] == before
    assert summary_of("r.csv")["verification"]["not_desired"] == 1


@pytest.mark.parametrize("read", [(), ("--watch", "1s", "--every", "1s", "--yes")], ids=["once", "watched"])
@pytest.mark.parametrize("interrupted", ["run", "undo"])
def test_a_verification_in_between_hides_nothing(tmp_path, service, made, interrupted, read):
    """What was interrupted is resumed, as it was asked for, though it was verified since."""
    devices, _ = made()
    (tmp_path / "p.txt").write_text(f"{devices[0][0]}\n")
    run = ("run", "inactivate-device", "d.csv", *service.looking, "-q", "-o", "r.csv", "--overwrite")
    service.seed(devices, "1")
    protected = ("--protect", "p.txt", "--skip-protected")
    if interrupted == "run":
        here(*run, *protected, "--limit-rows", "6").ended(75)
    else:
        here(*run, *protected).ended(1)
        here("undo", "r.csv", "--yes", "-q", "--limit-rows", "6", *UNHURRIED).ended(75)
    kill("r.csv")
    here("verify", "r.csv", "-q", *UNHURRIED, *read).ended(1)
    assert status("r.csv").state is State.INTERRUPTED
    here("resume", "r.csv", "--yes", "-q").ended(1 if interrupted == "run" else 0)

    changed = "0" if interrupted == "run" else "1"
    assert service.states(devices) == ["1", *[changed] * 9]
    if interrupted == "undo":
        # What the run was asked for holds, whatever was typed for the undo.
        here("resume", "r.csv", "--retry", "undone", "--yes", "-q").ended(1)
        assert service.states(devices) == ["1", *["0"] * 9]
        assert outcomes("r.csv") == {"protected": 1, "succeeded": 9}


def test_what_an_undo_has_changed_without_an_answer(service, made):
    """A row that an undo may have changed back, and that is read so, is not called again by a watch either."""
    devices, _ = made()
    with service.faulty(**{"ActiveDeviceCertificate:drop-after": 1.0}):
        here("undo", "r.csv", "--yes", "-q", "--attempts", "1", *UNHURRIED)
    # The first call that is never answered stops it; the others may have been on their way by then.
    states = service.states(devices)
    assert 0 < (undone := status("r.csv").maybe_undone) == states.count("1")
    before = service.report().operations[CALL]
    told = here("verify", "r.csv", "--watch", "1s", "--every", "1s", "--yes", *UNHURRIED).ended(1)

    assert service.report().operations[CALL] == before
    assert "the run was undone, wholly or in part" in told.stderr
    assert status("r.csv").is_undone
    assert service.states(devices) == states
    assert outcomes("r.csv")["undone"] == undone
    assert sum(ask("r.csv", queries.calls).values()) == 10 + undone, "those of the run and those of the undo"
    here("resume", "r.csv", "--retry", "undone", "--yes", "-q").ended(0)
    assert service.states(devices) == ["0"] * 10

"""``verify --watch``: when it looks again, whom it calls, and that all it did is told."""

import json
from contextlib import asynccontextmanager
from types import SimpleNamespace

import anyio
import pytest
from kill_anywhere import whole
from program import PATIENCE_S, UNHURRIED, bulkcert, outcomes, read_results, start, summary_of, wait_for
from watching import watch

from bulkcert.api.credentials import FixedKeyring
from bulkcert.api.signing import Credentials
from bulkcert.batch import lanes, outage, verification
from bulkcert.batch.verification import Verifying
from bulkcert.errors import BulkcertError, ExitStatus

WATCH = ("--yes", "--every", "1s", *UNHURRIED)
READ = "GetDeviceCertificate"


@pytest.fixture
def made(tmp_path, service):
    """Returns a function that runs over ten active devices of a CA of their own, and returns them and the command."""

    def make(*options, status=0, unregistered=0):
        name = tmp_path.name[:24]
        devices = [(f"{name}{number}", f"{name}ca") for number in range(10)]
        (tmp_path / "d.csv").write_text("DeviceSn,CaSn\n" + "".join(f"{device},{ca}\n" for device, ca in devices))
        service.seed(devices[unregistered:])
        command = ("run", "inactivate-device", "d.csv", *service.looking, "-q", "-o", "r.csv")
        bulkcert(*command, *options, cwd=tmp_path).ended(status)
        return devices, command

    return make


class Rounds(Verifying):
    """A watch of one row for 100 seconds, whose looks fail as told and whose calls are in vain; a look takes a second.

    Attributes:
        now: Its clock.
        pauses: Those that it made.
    """

    def __init__(self, *failures):
        journal = SimpleNamespace(begin=lambda _key: None, failure=None)
        super().__init__(SimpleNamespace(journal=journal), None, watch_s=100, every_s=30)
        self.failures, self.looks, self.now, self.pauses = list(failures), 0, 0.0, []

    def pause(self, seconds):
        self.now += seconds
        self.pauses.append(seconds)
        return anyio.move_on_after(0)

    async def _sightings(self):
        return SimpleNamespace(forget=lambda: None)

    async def _look(self, _lanes, _sightings):
        self.looks += 1
        self.now += 1
        return self.failures.pop(0) if self.failures else None

    async def _keep(self, _sightings, *, changes_only):
        pass

    async def _act(self, _lanes, _sightings):
        return 1


@pytest.fixture
def watched(monkeypatch):
    """Returns a function that lets a watch go on to its end, on its own clock."""

    @asynccontextmanager
    async def calling(*_arguments, **_options):
        yield SimpleNamespace(stopping=anyio.Event())

    @asynccontextmanager
    async def journaling(*_arguments):
        yield

    monkeypatch.setattr(verification, "calling", calling)
    monkeypatch.setattr(verification, "journaling", journaling)

    def watch(rounds):
        monkeypatch.setattr(
            verification, "time", SimpleNamespace(monotonic=lambda: rounds.now, time=lambda: rounds.now)
        )
        monkeypatch.setattr(verification, "anyio", SimpleNamespace(move_on_after=rounds.pause))
        anyio.run(rounds.read, FixedKeyring(Credentials("id", "secret")), None, None)
        return rounds

    return watch


def failed(status):
    return BulkcertError(status, "no answer")


def test_calls_in_vain_wait_for_the_next_round(watched):
    """A row that was called is looked at again at once; called in vain it waits for --every, the last time less."""
    assert watched(Rounds()).pauses == [0, 30, 30, 30, 5]


def test_a_look_that_fails_is_made_again(watched):
    """One bad answer does not end a watch, and is not told of once a later look went well."""
    ended = watched(Rounds(failed(ExitStatus.UNAVAILABLE)))

    assert ended.looks == 6
    assert ended.stop is None


def test_the_last_failure_is_told(watched):
    """What keeps failing to the end is why the watch ended, with its status."""
    ended = watched(Rounds(*[failed(ExitStatus.UNAVAILABLE)] * 9))

    assert ended.stop.status is ExitStatus.UNAVAILABLE


def test_no_permission_ends_it(watched):
    """What will be refused in each round is not asked for in each round."""
    ended = watched(Rounds(failed(ExitStatus.DENIED)))

    assert ended.looks == 1
    assert ended.stop.status is ExitStatus.DENIED


def test_all_that_was_called_is_told_though_the_last_look_fails(tmp_path, service, made):
    """77, and results, summary and journal hold what was called before the permission was withdrawn."""
    devices, _ = made(unregistered=3, status=1)
    service.seed(devices[:3])
    journal = tmp_path / "r.csv.journal"

    def called_and_looked_at():
        lines = [json.loads(line) for line in whole(journal).splitlines()[known:]]
        return {line["row"] for line in lines if line["type"] == "row"} == {1, 2, 3} and lines[-1]["type"] == "seen"

    known = len(whole(journal).splitlines())
    with start("verify", "r.csv", *WATCH, "--watch", "1h", "--attempts", "1", cwd=tmp_path) as watching:
        wait_for(watching, called_and_looked_at)
        service.tell("faults", shares={"NoPermission": 1.0}, seed=1)
        try:
            stdout, stderr = watching.communicate(timeout=PATIENCE_S)
        finally:
            service.tell("faults", shares={}, seed=1)

    assert watching.returncode == 77, stderr
    assert outcomes(tmp_path / "r.csv") == {"succeeded": 10}
    assert summary_of(tmp_path / "r.csv")["outcomes"] == {"succeeded": 10}
    assert "verified_status" in read_results(tmp_path / "r.csv")[0]
    assert json.loads(journal.read_text().splitlines()[-1])["type"] == "end"
    assert b"3 certificates" in stdout


def test_a_service_that_goes_silent(tmp_path, service, made, monkeypatch):
    """A silence that ends a run is waited for by a watch, which then calls what connected meanwhile."""
    devices, _ = made(unregistered=10, status=1)
    monkeypatch.setattr(outage, "SILENCE_S", 0.0)
    monkeypatch.setattr(lanes, "PAUSE_S", 0.1)
    service.tell("faults", shares={f"{READ}:drop-before": 1.0}, seed=1)
    arrived = service.report().operations.get(READ, 0)

    def return_with_devices():
        wait_for(None, lambda: service.report().operations.get(READ, 0) >= arrived + 2 * outage.IN_A_ROW)
        service.seed(devices)
        service.tell("faults", shares={}, seed=1)
        wait_for(None, lambda: service.states(devices) == ["0"] * 10)

    watch("r.csv", return_with_devices, cwd=tmp_path).ended(0)


def test_what_the_run_has_not_come_to(tmp_path, service, made):
    """1: a watch calls no row that the run was kept from calling, and says how to go on with those."""
    devices, _ = made("--limit-rows", "4", status=75)
    service.seed(devices[:1])
    left = ["0"] * 4 + ["1"] * 6
    watched = watch("r.csv", lambda: wait_for(None, lambda: service.states(devices) == left), cwd=tmp_path).ended(1)

    assert "not attempted: 6 rows" in watched.stderr
    assert service.states(devices) == left
    assert outcomes(tmp_path / "r.csv") == {"succeeded": 4, "not_attempted": 6}
    assert summary_of(tmp_path / "r.csv")["verification"]["not_attempted"] == 6


def test_summary_and_results_agree(tmp_path, service, made):
    """After a watch the summary counts the outcomes that stand in the results; the run's own command keeps that."""
    devices, command = made(unregistered=2, status=1)
    service.seed(devices[:2])
    watch("r.csv", lambda: wait_for(None, lambda: service.states(devices) == ["0"] * 10), cwd=tmp_path).ended(0)
    summary = summary_of(tmp_path / "r.csv")

    assert summary["outcomes"] == outcomes(tmp_path / "r.csv") == {"succeeded": 10}
    assert summary["exit_status"] == 0
    assert summary["verification"]["called_again"] == 2
    bulkcert(*command, cwd=tmp_path).ended(0)
    assert summary_of(tmp_path / "r.csv")["verification"] == summary["verification"]


def test_what_was_called_after_it_was_verified(tmp_path, service, made):
    """A row that was called since is not verified any more, and the summary does not say that all are."""
    devices, command = made(unregistered=1, status=1)
    bulkcert("verify", "r.csv", *UNHURRIED, cwd=tmp_path).ended(1)
    service.seed(devices[:1])
    bulkcert(*command, "--retry-failed", cwd=tmp_path).ended(0)

    rows = read_results(tmp_path / "r.csv")
    assert [row["verified_status"] for row in rows] == ["", *["inactive"] * 9]
    assert rows[0]["verified_at"] == ""
    assert summary_of(tmp_path / "r.csv")["verification"] is None


@pytest.mark.parametrize(
    ("options", "told"), [(("--watch", "60d"), "30d at most"), (("--watch", "1m", "--every", "0s"), "1s at least")]
)
def test_limits(tmp_path, made, options, told):
    """2: longer than times are counted for, or without a pause."""
    made()
    assert told in bulkcert("verify", "r.csv", "--yes", *options, cwd=tmp_path).ended(2).stderr

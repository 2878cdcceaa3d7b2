"""Metrics: what stands in the file, held against the results, and what goes wrong with it."""

import shutil
import signal
import stat
from contextlib import contextmanager

import pytest
from place import Place
from program import INSTANCE, PATIENCE_S, emulator, here, outcomes, start, summary_of, wait_for, write_devices
from prometheus_client.parser import text_string_to_metric_families

from bulkcert.commands import run
from bulkcert.errors import SignalError

LABELS = {"action": "inactivate-device", "mqtt_instance": INSTANCE, "job_name": "", "rehearsal": "false"}


@pytest.fixture(scope="module")
def service():
    with emulator(latency_ms=(1, 5)) as running:
        yield running


class Measured(Place):
    """A run that keeps metrics."""

    def __init__(self, directory, service):
        super().__init__(directory, service, 60)
        self.file = directory / "textfile" / "b.prom"
        self.file.parent.mkdir()

    def command(self, *more, **options):
        return super().command("--metrics-file", self.file, *more, **options)

    def samples(self):
        return samples(self.file.read_text())


@pytest.fixture
def place(tmp_path, service):
    return Measured(tmp_path, service)


def samples(exposition):
    """Returns what an exposition says, by name and own label; each sample must have all labels and no time."""
    found = {}
    for family in text_string_to_metric_families(exposition):
        assert family.documentation
        assert family.type != "unknown"
        for sample in family.samples:
            assert sample.timestamp is None, "the textfile collector refuses times"
            assert sample.labels.items() >= LABELS.items()
            own = "".join(value for name, value in sample.labels.items() if name not in LABELS)
            found[f"{sample.name} {own}".strip()] = sample.value
    return found


def own(found, name):
    """Returns the values of one metric that are not 0, by its own label."""
    prefix = name + " "
    return {key.removeprefix(prefix): value for key, value in found.items() if key.startswith(prefix) and value}


def test_file_is_right_to_the_last_number(place):
    """After a run with all kinds of outcomes the file says what results and summary say, and others may read it."""
    lines = place.list.read_text().splitlines()
    place.list.write_text("\n".join([*lines, lines[1], "unheard-of,00ca000000", "NULL,00ca000000"]) + "\n")
    with place.service.faulty(**{"throttle": 0.1, "internal-error": 0.1}):
        place.run("--skip-invalid", where=place.service.looking).ended(1)

    found, session = place.samples(), summary_of(place.results)["sessions"][-1]
    assert own(found, "bulkcert_last_rows") == outcomes(place.results)
    finished = {"unchanged", "succeeded", "not_registered", "failed", "unknown"}
    counted = {outcome: count for outcome, count in outcomes(place.results).items() if outcome in finished}
    assert own(found, "bulkcert_rows_finished_total") == counted
    for name in ("calls", "retries", "throttles"):
        assert found[f"bulkcert_{name}_total"] == session[name]
    assert sum(own(found, "bulkcert_answers_total").values()) == session["calls"]
    assert found["bulkcert_call_duration_seconds_count"] == session["calls"]
    assert found["bulkcert_call_duration_seconds_bucket 30.0"] == session["calls"]
    assert (found["bulkcert_rows_to_call"], found["bulkcert_rows_left"]) == (61, 0)
    assert (found["bulkcert_last_exit_status"], found["bulkcert_run_active"]) == (1, 0)
    assert found["bulkcert_cap_calls_per_second account"] == 100_000
    assert stat.S_IMODE(place.file.stat().st_mode) == 0o644
    assert [path.name for path in place.file.parent.iterdir()] == ["b.prom"], "no temporary file is left"


def test_last_success_survives_failing_runs(place):
    """A run that fails, even before its first call, keeps the time of the last success and the last results."""
    place.run().ended(0)
    good = place.samples()
    place.list.write_text("DeviceSn,CaSn\nNULL,00ca000000\n")
    place.run("--overwrite").ended(65)

    bad = place.samples()
    assert bad["bulkcert_last_exit_status"] == 65
    assert bad["bulkcert_last_end_timestamp_seconds"] > good["bulkcert_last_end_timestamp_seconds"]
    for kept in ("bulkcert_last_success_timestamp_seconds", "bulkcert_last_rows succeeded"):
        assert bad[kept] == good[kept] > 0


REFUSED = {
    "a list that is missing": (
        66,
        lambda line: ["none.csv" if str(each).endswith("devices.csv") else each for each in line],
    ),
    "nobody to confirm": (2, lambda line: [each for each in line if each != "--yes"]),
}
"""Starts that make no call: the exit status, and what is typed instead of what is right."""


@pytest.mark.parametrize(("status", "wrong"), REFUSED.values(), ids=REFUSED)
def test_how_a_start_that_is_refused_has_ended(place, status, wrong):
    """Whatever keeps a start from calling, the file has its exit status and time, and no rows of another run."""
    place.run().ended(0)
    good = place.samples()
    tonight = [place.list.with_name("tonight.csv") if each == place.results else each for each in place.command()]
    here(*wrong(tonight), cwd=place.list.parent).ended(status)
    bad = place.samples()

    assert (bad["bulkcert_last_exit_status"], bad["bulkcert_run_active"]) == (status, 0)
    assert bad["bulkcert_last_end_timestamp_seconds"] > good["bulkcert_last_end_timestamp_seconds"]
    assert bad["bulkcert_last_success_timestamp_seconds"] == good["bulkcert_last_success_timestamp_seconds"]
    assert own(good, "bulkcert_last_rows") == {"succeeded": 60}
    assert not own(bad, "bulkcert_last_rows")
    assert stat.S_IMODE(place.file.stat().st_mode) == 0o644


def test_rows_are_those_of_the_store(place):
    """Of results that are there already the rows are told, whatever has refused the start; not those of another run."""
    place.run().ended(0)
    place.list.write_text("DeviceSn,CaSn\n000000000001,00ca000000\n")
    place.run().ended(65)
    assert own(place.samples(), "bulkcert_last_rows") == {"succeeded": 60}
    here(*(each if each != "inactivate-device" else "activate-device" for each in place.command())).ended(65)
    assert 'bulkcert_last_exit_status{action="activate-device"' in place.file.read_text()
    assert "bulkcert_last_rows{" not in place.file.read_text()


def test_file_of_another_job_is_not_taken_over(place):
    """What another action left in the file is not told as this one's."""
    place.run().ended(0)
    place.file.write_text(place.file.read_text().replace("inactivate-device", "activate-device"))
    place.run("--deadline", "0s", "--overwrite").ended(75)

    assert "bulkcert_last_success_timestamp_seconds" not in place.samples()


def test_undo_leaves_the_metrics_of_the_run_alone(place, tmp_path):
    """A job file's metrics are those of its run: an undo with that job file does not touch them."""
    place.run(where=place.service.looking).ended(0)
    before = place.file.read_bytes()
    (tmp_path / "job.toml").write_text(f'metrics-file = "{place.file}"\n')
    here("undo", place.results, "--job", tmp_path / "job.toml", "--yes").ended(0)

    assert place.file.read_bytes() == before


@contextmanager
def under_way(place, *more):
    """Starts a run that goes on until it is ended, and yields it once it calls."""
    place.service.seed(write_devices(place.list, 3000))
    before = place.service.report().arrivals
    where = ("--endpoint", place.service.url, "--instance", INSTANCE, "--yes", "--preflight", "never", "--rate", "10")
    with start(*place.command(*more, where=where)) as child:
        wait_for(child, lambda: place.service.report().arrivals >= before + 3)
        yield child


def test_file_while_it_runs_and_after_sigterm(place):
    """While a run goes on the file says so, also after a start that was refused (73); after SIGTERM, how it ended."""
    with under_way(place) as child:
        another = place.run().ended(73)
        running = place.samples()
        child.send_signal(signal.SIGTERM)
        child.communicate(timeout=PATIENCE_S)

    assert "holds" in another.stderr or "another" in another.stderr
    assert running["bulkcert_run_active"] == 1
    assert "bulkcert_last_exit_status" not in running
    found = place.samples()
    assert child.returncode == found["bulkcert_last_exit_status"] == 143
    assert found["bulkcert_run_active"] == 0
    assert own(found, "bulkcert_last_rows") == outcomes(place.results)


def test_a_signal_before_there_are_calls(place, monkeypatch):
    """The file has the exit status of the signal, as the command has."""

    def open_run(*_):
        raise SignalError(signal.SIGTERM)

    monkeypatch.setattr(run, "open_run", open_run)
    place.run().ended(143)
    assert place.samples()["bulkcert_last_exit_status"] == 143


@pytest.mark.parametrize(
    ("file", "status", "said"),
    [("missing/b.prom", 73, "cannot write"), ("textfile", 2, "must end in .prom"), ("d.prom", 73, "cannot write")],
)
def test_wrong_file_is_refused_before_the_first_call(place, tmp_path, file, status, said):
    """A metrics file that cannot be written is an error before anything is read or called."""
    (tmp_path / "d.prom").mkdir()
    before = place.service.report().arrivals
    finished = here(*place.command()[:-1], tmp_path / file).ended(status)

    assert said in finished.stderr
    assert "No calls were made" in finished.stderr
    assert place.service.report().arrivals == before
    assert not place.results.exists()


def test_file_that_fails_later_is_a_warning(place):
    """When the directory goes away in the middle, the run goes on and ends as it would have; it says so."""
    before = place.service.report().arrivals
    with under_way(place) as child:
        shutil.rmtree(place.file.parent)
        removed = place.service.report().arrivals
        wait_for(child, lambda: place.service.report().arrivals >= removed + 10)
        child.send_signal(signal.SIGTERM)
        _, stderr = child.communicate(timeout=PATIENCE_S)

    assert child.returncode == 143
    assert stderr.count(b"warning: cannot write") == 1
    assert outcomes(place.results)["succeeded"] == place.service.report().arrivals - before


def test_broken_file_is_a_warning(place):
    """A file that is no exposition costs the time of the last success, and nothing else."""
    place.file.write_text('bulkcert_last_exit_status{action="x} 1\n')
    finished = place.run().ended(0)

    assert "warning: " in finished.stderr
    assert place.samples()["bulkcert_last_exit_status"] == 0

"""``--state-dir``: what a run remembers is kept elsewhere, and every command finds it there."""

import shlex

import pytest
from place import Inside
from program import here, outcomes, write_devices

STATE = ("--state-dir", "state")


@pytest.fixture
def place(tmp_path, service, inside):
    """Returns a list in the current directory, and the run over it, whose folder is to be elsewhere."""
    (tmp_path / "state").mkdir()
    return Inside(service, tmp_path.name, 10)


def printed(said, purpose):
    """Returns the command that was printed for a purpose."""
    (line,) = (line for line in said.splitlines() if line.startswith(purpose))
    return shlex.split(line.partition("bulkcert ")[2])


def test_every_command_that_is_printed_finds_it(tmp_path, place):
    """What is printed is resumed, verified, told and undone as it stands; beside the results there is no folder."""
    left = place.run("--limit-rows", 4, *STATE).ended(75)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.csv", "r.csv", "r.csv.failed.csv", "state"]
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["r.csv.run"]
    done = here(*printed(left.stderr, "to resume"), "--yes").ended(0)
    here(*printed(done.stderr, "to verify")).ended(0)
    here(*printed(done.stderr, "to report"), "--format", "text").ended(0)
    undone = here(*printed(done.stderr, "to undo"), "--yes").ended(0)
    again = printed(undone.stderr, "to do it again")
    assert place.service.states(place.devices) == ["1"] * 10
    here("status", "r.csv", *STATE).ended(1)
    here("export", "r.csv", *STATE, "-o", "e.csv").ended(0)
    here(*again, "--yes").ended(0)

    assert (outcomes("e.csv"), outcomes("r.csv")) == ({"undone": 10}, {"succeeded": 10})
    assert place.service.states(place.devices) == ["0"] * 10
    assert "results.csv" not in here("status", "r.csv").ended(66).stdout, "nothing is known of it beside the results"


def test_folders_of_other_results_of_the_same_name(tmp_path, place):
    """Neither resumed nor dropped nor undone: whoever keeps all folders in one place loses no run to another."""
    place.run("--limit-rows", 4, *STATE).ended(75)
    (tmp_path / "other").mkdir()
    write_devices("other/d.csv", 10)
    where = ("--state-dir", tmp_path / "state")
    run = ("run", "inactivate-device", "d.csv", "-o", "r.csv", *place.service.looking)
    for command in (run, (*run, "--overwrite"), ("resume", "r.csv", "--yes"), ("undo", "r.csv", "--yes")):
        refused = here(*command, *where, cwd=tmp_path / "other").ended(73)
        assert f"r.csv.run is of the run of other results, {tmp_path / 'r.csv'}" in refused.stderr
        assert "No calls were made" in refused.stderr
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["d.csv"]
    here("resume", tmp_path / "r.csv", *where, "--yes", cwd="/").ended(0)
    assert outcomes("r.csv") == {"succeeded": 10}


def test_no_such_directory(tmp_path, place):
    """73: it is not made; nothing is called, nothing is left, and the option that named it is named."""
    (tmp_path / "state").rmdir()
    refused = place.run(*STATE).ended(73)

    assert "cannot write state/r.csv.run: No such file or directory" in refused.stderr
    assert "Create the directory, or name another directory with --state-dir." in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["d.csv"]


def test_in_a_job_file(tmp_path, place):
    """It counts from where the job file is, for whatever command takes the job."""
    (tmp_path / "job.toml").write_text(
        f'action = "inactivate-device"\ninput = "d.csv"\nresults = "r.csv"\nstate-dir = "state"\nlimit-rows = 4\n'
        f'instance = "{place.service.looking[3]}"\nendpoint = "{place.service.url}"\nyes = true\n'
    )
    done = {("run",): 75, ("status",): 75, ("resume", "--yes"): 75, ("report", "--format", "text"): 0}
    for command, status in done.items():
        here(*command, "--job", tmp_path / "job.toml", cwd="/").ended(status)

    assert outcomes("r.csv") == {"succeeded": 8, "not_attempted": 2}
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["r.csv.run"]

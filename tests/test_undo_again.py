"""``undo`` after ``undo``: its list is always that of the run as it stands, and never silently an old one."""

import json

import pytest
from program import UNHURRIED, here, outcomes, read_results, summary_of, wait_for, write_devices
from watching import watch


@pytest.fixture
def made(tmp_path, service):
    """Returns a function that makes a list of active devices and runs over it, and returns the devices."""

    def make(*options, count=20, status=0):
        name = tmp_path.name[:20]
        devices = [(f"{name}{device}", f"{name}{ca}") for device, ca in write_devices(tmp_path / "d.csv", count)]
        write = "DeviceSn,CaSn\n" + "".join(f"{device},{ca}\n" for device, ca in devices)
        (tmp_path / "d.csv").write_text(write)
        service.seed(devices)
        run = ("run", "inactivate-device", "d.csv", *service.looking, "-q", "-o", "r.csv")
        here(*run, *options, cwd=tmp_path).ended(status)
        return devices, run

    return make


def undo(directory, *options, status=0):
    return here("undo", "r.csv", "--yes", *UNHURRIED, *options, cwd=directory).ended(status)


@pytest.mark.parametrize("again", ["--overwrite", "verify --watch"])
def test_the_same_rows_called_again(tmp_path, service, made, again):
    """65: the same rows, switched off once more after the undo, are no finished undo; --overwrite takes them back."""
    devices, run = made()
    undo(tmp_path, "-q")
    if again == "--overwrite":
        here(*run, "--overwrite", cwd=tmp_path).ended(0)
    else:
        called = service.report().changes + len(devices)
        watch("r.csv", lambda: wait_for(None, lambda: service.report().changes >= called), cwd=tmp_path).ended(0)
    assert service.states(devices) == ["0"] * 20
    before = (tmp_path / "r.csv.undo-list.csv").read_bytes()
    refused = undo(tmp_path, status=65).stderr

    assert "--overwrite" in refused
    assert (tmp_path / "r.csv.undo-list.csv").read_bytes() == before
    undo(tmp_path, "--overwrite")
    assert service.states(devices) == ["1"] * 20


def test_the_rest_of_a_run(tmp_path, service, made):
    """65: a run that went on after its undo has changed more; other results with -o take back what is now off."""
    devices, run = made("--limit-rows", "5", status=75)
    undo(tmp_path, "-q")
    here(*run, cwd=tmp_path).ended(0)
    undo(tmp_path, status=65)
    undo(tmp_path, "-o", "second.csv")

    assert service.states(devices) == ["1"] * 20


def test_another_word_on_what_is_unknown(tmp_path, service, made):
    """65: an undo that left out what is not known has not undone it."""
    devices, _ = made("--look-first", "never", count=3)
    here("undo", "r.csv", "--yes", *UNHURRIED, "--include-unknown", "--limit-rows", "1", cwd=tmp_path).ended(75)
    left = undo(tmp_path, "--no-include-unknown").stderr
    assert "nothing to undo: all that r.csv tells of are 3 rows whose state before is not known" in left
    undo(tmp_path, "--include-unknown")

    assert service.states(devices) == ["1"] * 3


def test_results_of_its_own(tmp_path, service, made):
    """2: an undo that would write onto what it undoes is refused before the journal is touched."""
    made(count=3)
    before = (tmp_path / "r.csv.journal").read_bytes()
    for name in ("r.csv", "./r.csv", "r.csv.undo-list.csv"):
        assert "-o" in undo(tmp_path, "-o", name, "--overwrite", status=2).stderr

    assert (tmp_path / "r.csv.journal").read_bytes() == before


def test_two_formats_of_one_stem(tmp_path, service, made):
    """r.csv and r.ndjson each have an undo list of their own."""
    devices, run = made(count=3)
    here(*run[:-1], "r.ndjson", cwd=tmp_path).ended(0)
    undo(tmp_path, "-q")
    assert "nothing to undo" in here("undo", "r.ndjson", "--yes", cwd=tmp_path).ended(0).stderr

    assert [path.name for path in sorted(tmp_path.glob("*.undo-list.csv"))] == ["r.csv.undo-list.csv"]
    assert service.states(devices) == ["1"] * 3


def test_the_run_says_that_it_was_undone(tmp_path, service, made):
    """The finished run, started again, still exits as it did, and says by what and when it was taken back."""
    _, run = made(count=3)
    undo(tmp_path, "-q")
    again = here(*run, cwd=tmp_path).ended(0).stdout

    assert "0: before the undo, every row is in the wanted state" in again
    noted = summary_of(tmp_path / "r.csv")["taken_back"]
    assert noted["rows"] == 3
    assert f"3 rows, by r.undo.csv on {noted['finished']}" in again
    undo(tmp_path, "-q")
    assert summary_of(tmp_path / "r.csv")["taken_back"] == noted, "an undo that called nothing is no later one"


def test_json_with_nothing_to_undo(tmp_path, service, made):
    """--json prints an object whatever there was to do."""
    _, run = made(count=3)
    here(*run, "--overwrite", cwd=tmp_path).ended(0)
    told = undo(tmp_path, "--json", "-q")

    assert json.loads(told.stdout) == {"rows": 0, "unknown": 0, "exit_status": 0}
    assert told.stderr == ""


def test_wrong_options_name_the_right_help(tmp_path, service, made):
    """2: the help that is named is that of the command that was typed."""
    made(count=3)
    assert "See bulkcert undo --help" in undo(tmp_path, "--max-errors", "many", status=2).stderr
    rehearsed = here("rehearse", "inactivate-device", "d.csv", "--max-errors", "many", cwd=tmp_path).ended(2)
    assert "See bulkcert rehearse --help" in rehearsed.stderr


def test_one_row_is_one_row(tmp_path, service, made):
    """Nobody reads of 1 rows."""
    made("--look-first", "always", count=1)
    told = here("undo", "r.csv", "--yes", *UNHURRIED, cwd=tmp_path).ended(0)

    assert "to take back: 1 row of r.csv" in told.stderr
    assert "1 rows" not in told.stderr + told.stdout
    assert "time          less than a second" in told.stderr
    assert outcomes(tmp_path / "r.undo.csv") == {"succeeded": 1}
    assert read_results(tmp_path / "r.undo.csv")[0]["original_row"] == "1"


def test_rehearsed_twice(tmp_path):
    """Each rehearsal takes back what it has done itself, not what the one before did."""
    write_devices(tmp_path / "d.csv", 10)
    rehearse = ("rehearse", "inactivate-device", "d.csv", "-q", "--json", "--latency-ms", "0", "0", "--then", "undo")
    told = [
        json.loads(here(*rehearse, *more, cwd=tmp_path).ended(0).stdout)
        for more in (("--already", "0.5", "--look-first", "always"), ())
    ]

    assert [undone["undo"]["rows"] for undone in told] == [
        rehearsed["summary"]["outcomes"]["succeeded"] for rehearsed in told
    ]
    assert told[1]["undo"]["rows"] == 10

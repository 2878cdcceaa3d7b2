"""``rehearse --and-then``: what follows a rehearsed run is a part of it, and says no more than a rehearsal may."""

import json
import re
import signal

import pytest
from program import PATIENCE_S, here, start, summary_of, wait_for, write_devices

from bulkcert.runs import rehearsal

REHEARSE = ("rehearse", "inactivate-device", "d.csv", "--latency-ms", "0", "0")
BOTH = ("--and-then", "verify", "--and-then", "undo")


@pytest.fixture(autouse=True)
def devices(tmp_path, inside):
    """Returns three devices, listed in ``d.csv``."""
    return write_devices(tmp_path / "d.csv", 3)


def test_one_json_object():
    """With --json standard output holds one object, and that holds every part."""
    told = json.loads(here(*REHEARSE, "--json", "-q", *BOTH).ended(0).stdout)

    assert list(told) == ["summary", "verification", "undo", "emulator"]
    assert (told["verification"]["wanted"], told["undo"]["rows"]) == (3, 3)


def test_nothing_is_proposed_that_needs_the_emulator():
    """Neither the run nor its undo can be verified, undone, resumed or done again: the emulator is gone by then."""
    shown = here(*REHEARSE, *BOTH).ended(0)

    assert "to undo: 3 rows" in shown.stderr
    report = "to report: bulkcert report d.inactivate-device.results.rehearsal.csv\n"
    assert [line for line in shown.stderr.splitlines(keepends=True) if ": bulkcert " in line] == [report] * 2


def test_what_cannot_be_undone_is_refused_first(tmp_path):
    """delete-ca has no undo: that is said before anything is done, as what is wrong with an option."""
    refused = here("rehearse", "delete-ca", "d.csv", "--and-then", "undo").ended(2)

    assert "--and-then undo cannot follow delete-ca: no operation undoes it" in refused.stderr
    assert "See bulkcert rehearse --help" in here(*REHEARSE, "--max-errors", "many").ended(2).stderr
    assert [path.name for path in tmp_path.iterdir()] == ["d.csv"]


def test_no_option_is_named_that_was_not_given():
    """Where nobody has looked, nothing can be undone, and no option of undo is to blame."""
    shown = here(*REHEARSE, "--preflight", "never", "--and-then", "undo").ended(0)

    assert "are 3 rows whose state before is not known, so they are not undone\n" in shown.stderr
    assert "include-unknown" not in shown.stderr


UNREAD = "GetDeviceCertificate:ParameterFieldCheckFailed"
NOT_UNDONE = "ActiveDeviceCertificate:NoPermission"
CASES = {
    "verify": ("never", 0.0, [UNREAD], (0, 1, 0), 1),
    "undo": ("always", 0.0, [NOT_UNDONE], (0, 0, 77), 77),
    "run, verify and undo": ("always", 0.5, [NOT_UNDONE], (1, 1, 77), 77),
}
STAGE = ("--fault-seed", 1, "--latency-ms", 0, 0, *BOTH)


@pytest.mark.parametrize("case", CASES)
def test_the_worst_step_counts(tmp_path, monkeypatch, case):
    """A step that went well, or nearly, makes no success of another that did not."""
    look, unregistered, faults, parts, status = CASES[case]
    write_devices(tmp_path / "d.csv", 20, cas=20)
    monkeypatch.setattr(rehearsal, "DEFAULT_FAULTS", dict.fromkeys(faults, 1))
    options = ("--preflight", look, "--unregistered", unregistered, *STAGE, "-q", "--json")
    said = here("rehearse", "inactivate-device", "d.csv", *options, cwd=tmp_path).ended(status).stdout
    told = json.loads(said.splitlines()[-1])

    undone = told["undo"].get("sessions", [told["undo"]])[-1]
    ended = [part["exit_status"] for part in (told["summary"], told["verification"], undone)]
    assert tuple(ended) == parts


def test_ctrl_c_ends_all_steps(tmp_path):
    """Who stops the run wants no verification and no undo after it."""
    write_devices(tmp_path / "d.csv", 2000)
    with start(*REHEARSE, *BOTH, "--rate", "20", cwd=tmp_path) as child:
        wait_for(child, (tmp_path / f"{RESULTS}.run" / "store.sqlite-wal").exists)
        wait_for(child, lambda: '"calling"' in here("status", RESULTS, "--json", cwd=tmp_path).stdout)
        child.send_signal(signal.SIGINT)
        said, _ = child.communicate(timeout=PATIENCE_S)

    assert child.returncode == 130
    assert b"== REHEARSAL: emulator ==" in said
    assert b": verify ==" not in said
    assert b": undo ==" not in said


RESULTS = "d.inactivate-device.results.rehearsal.csv"
ABOUT_IT = [("status",), ("status", "--follow"), ("report", "--format", "text"), ("report", "--format", "md")]


def test_what_it_leaves_says_so(tmp_path):
    """Nothing that a rehearsal prints or leaves can be taken for the real thing."""
    shown = here(*REHEARSE, "--metrics-file", "m.prom", *BOTH).ended(0)
    for name in ("run", "verify", "undo", "emulator"):
        assert f"== REHEARSAL: {name} ==" in shown.stdout
    assert shown.stdout.count("REHEARSAL     an emulator answered") == 3

    for name, *options in ABOUT_IT:
        assert "REHEARSAL" in here(name, RESULTS, *options).stdout.splitlines()[0], name
    assert "REHEARSAL, ended 1: 3 UNDONE" in here("runs").stdout
    here("report", RESULTS).ended(0)
    page = (tmp_path / f"{RESULTS}.report.html").read_text()
    assert re.search(r"<title>[^<]*REHEARSAL", page)
    assert re.search(r"<h1>[^<]*REHEARSAL", page)
    assert '<p class="watermark" aria-hidden="true">REHEARSAL</p>' in page
    assert summary_of(tmp_path / RESULTS)["rehearsal"]
    assert json.loads(here("status", RESULTS, "--json").stdout)["rehearsal"]
    assert not (tmp_path / "m.prom").exists()
    metrics = (tmp_path / "d.inactivate-device.results.rehearsal.prom").read_text()
    assert all('rehearsal="true"' in line for line in metrics.splitlines() if not line.startswith("#"))


def test_every_line_of_its_log_says_so():
    """Whoever reads one line of the log knows that it is of a rehearsal."""
    shown = here(*REHEARSE, "--log-format", "json", *BOTH).ended(0)
    lines = [json.loads(line) for line in shown.stderr.splitlines()]

    assert {line["event"] for line in lines} >= {"run_started", "run_finished", "verify_finished"}
    assert all(line["rehearsal"] for line in lines)


@pytest.mark.parametrize("name", ["r.csv.gz", "R.CSV.ZST", "r.parquet"])
def test_its_results_have_a_name_of_their_own(tmp_path, name):
    """They are of the kind that was asked for, and say that they are of a rehearsal."""
    here(*REHEARSE, "-o", name).ended(0)
    stem, _, ends = name.partition(".")
    assert (tmp_path / f"{stem}.rehearsal.{ends}").exists()
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("command", ["verify", "undo", "resume"])
def test_nothing_is_done_with_it_once_its_emulator_is_gone(command):
    """Another process may listen on that port by now: it is refused at once, with the way on."""
    here(*REHEARSE, "-q", "--limit-rows", "1").ended(75)
    refused = here(command, RESULTS, "--yes").ended(2)

    assert f"is of a rehearsal, whose emulator is gone: there is nothing to {command}" in refused.stderr
    also = "" if command == "resume" else f" with --and-then {command}"
    assert f"No calls were made. Rehearse it again{also}." in refused.stderr


def test_a_run_is_no_rehearsal_resumed():
    """Results of a rehearsal are none that a run can go on from."""
    here(*REHEARSE, "-q").ended(0)
    where = ("--instance", "post-cn-1", "--region", "cn-hangzhou", "--yes")
    refused = here("run", "inactivate-device", "d.csv", "-o", RESULTS, *where).ended(65)

    assert "is of a rehearsal, which is no run against the service" in refused.stderr

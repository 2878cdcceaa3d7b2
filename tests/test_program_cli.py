"""The command line as a whole: what each action does, where options come from, what is said when they are wrong."""

import json

import pytest
from program import INSTANCE, NO_KEY, UNHURRIED, bulkcert, here, outcomes, read_results, summary_of, write_devices

from bulkcert.service.actions import ACTIONS, OPERATIONS

OTHER_ADDRESSES = ["127.0.0.11", "127.0.0.12"]


@pytest.fixture
def devices(tmp_path, service):
    """Six devices under two CAs, all registered and active; devices.csv lists them."""
    rows = write_devices(tmp_path / "devices.csv", 6, cas=2)
    for _, ca in rows:
        service.tell("seed", instance=INSTANCE, rows=[(ca, "")])
    service.seed(rows)
    return rows


@pytest.mark.parametrize("action", ["inactivate-ca", "activate-ca", "delete-ca"])
def test_ca_actions(tmp_path, service, devices, action):
    """A device list given to a CA action is its distinct CAs, each called once; other rows name the row that stands."""
    before = service.report().arrivals
    if action == "activate-ca":
        here("run", "inactivate-ca", "devices.csv", *service.where, cwd=tmp_path).ended(0)
        before = service.report().arrivals
    sure = ("--confirm-devices", 6) if action == "delete-ca" else ()
    here("run", action, "devices.csv", *service.where, *sure, cwd=tmp_path).ended(0)

    calls = [call for call in service.calls()[before:] if not OPERATIONS[call["operation"]].reads]
    assert sorted(call["ca_sn"] for call in calls) == ["00ca000000", "00ca000001"]
    assert {call["operation"] for call in calls} == {ACTIONS[action].operation.name}
    rows = read_results(tmp_path / f"devices.{action}.results.csv")
    assert [row["outcome"] for row in rows] == ["succeeded"] * 2 + ["duplicate"] * 4
    assert [row["message"] for row in rows[2:]] == ["same CA as row 1", "same CA as row 2"] * 2
    ca = service.ca(devices[0][1])
    assert (ca and ca["Status"]) == {"inactivate-ca": "0", "activate-ca": "1", "delete-ca": None}[action]
    assert service.states(devices) == ([None] if action == "delete-ca" else ["1"]) * 6, "delete-ca cascades"


def test_a_ca_is_named_by_its_serial(tmp_path, service, devices):
    """What became of a CA is told with the serial of the CA, in the summary as well."""
    (tmp_path / "cas.csv").write_text("DeviceSn,CaSn\nd,00ca00000f\n")
    run = here("run", "inactivate-ca", "cas.csv", *service.where, "-o", "r.csv", cwd=tmp_path).ended(1)

    assert "1 FindCaBySnError row 1 (00ca00000f): " in run.stdout
    assert [kind["serial"] for kind in summary_of(tmp_path / "r.csv")["kinds"]] == ["00ca00000f"]


# Where options come from.

RUN = ("run", "--json", "-q")


@pytest.fixture
def job(tmp_path, service, devices):
    """Writes a job file beside the list, with more options if wanted; returns its path."""
    path = tmp_path / "job.toml"

    def write(more="", name="devices.csv", look="never"):
        path.write_text(
            f'action = "inactivate-device"\ninput = "{name}"\nresults = "results.csv"\ninstance = "{INSTANCE}"\n'
            f'endpoint = "{service.url}"\nyes = true\noverwrite = true\npreflight = "{look}"\n{more}\n'
        )
        return path

    return write


LAYERED = """
rate = 40
source-address = ["127.0.0.2", "127.0.0.3"]
limit-rows = 1
skip-invalid = true
"""


def test_layers_of_options(tmp_path, job):
    """A flag beats the environment, which beats the job file, which beats the default: numbers, lists, booleans."""
    path = job(LAYERED)
    with (tmp_path / "devices.csv").open("a") as file:
        file.write(",00ca\n")
    env = {
        "BULKCERT_RATE": "60",
        "BULKCERT_SOURCE_ADDRESS": "127.0.0.4 127.0.0.5",
        "BULKCERT_LIMIT_ROWS": "2",
        "BULKCERT_SKIP_INVALID": "false",
    }
    flags = ("--rate", "80", "--source-address", "127.0.0.6", "--limit-rows", "3", "--skip-invalid")

    def layered(finished):
        summary = json.loads(finished.ended(75).stdout)
        caps = summary["caps"]
        return caps["account"], caps["address"], caps["source_addresses"], summary["outcomes"]["succeeded"]

    assert layered(here(*RUN, "--job", path)) == (40, 300, ["127.0.0.2", "127.0.0.3"], 1)
    refused = here(*RUN, "--job", path, env=env).ended(65)
    assert "1 of 7 rows are invalid" in refused.stderr
    env["BULKCERT_SKIP_INVALID"] = "true"
    assert layered(here(*RUN, "--job", path, env=env)) == (60, 300, ["127.0.0.4", "127.0.0.5"], 2)
    env["BULKCERT_SKIP_INVALID"] = "false"
    assert layered(here(*RUN, "--job", path, *flags, env=env)) == (80, 300, ["127.0.0.6"], 3)
    here(*RUN, "--job", path, "--skip-invalid=false").ended(65)


def test_paths_of_a_job_file(tmp_path, job):
    """Relative paths in a job file start where the file is; those of flags where the command is started."""
    path = job()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shown = here("run", "--job", "../job.toml", cwd=elsewhere).ended(0).stdout
    assert (tmp_path / "results.csv").exists()
    assert f"results       {tmp_path / 'results.csv'}\n" in shown, "as short as it can be said"

    here("run", "--job", path, "-o", "here.csv", cwd=elsewhere).ended(0)
    assert (elsewhere / "here.csv").exists()
    here("run", env={"BULKCERT_JOB": str(path), "BULKCERT_RESULTS": "there.csv"}, cwd=elsewhere).ended(0)
    assert (elsewhere / "there.csv").exists()


# Options of a resume.


@pytest.fixture
def interrupted(tmp_path, service, inside):
    """A run of six rows that has called one, with every kind of option; its list is gone."""
    (tmp_path / "list.csv").write_text("no,Gerät,CA\n" + "".join(f"{n},x{n},00ca000000\n" for n in range(6)) + "7,,\n")
    service.seed([(f"x{number}", "00ca000000") for number in range(6)])
    (tmp_path / "p.csv").write_text("DeviceSn\nx5\n")
    own = ("--device-column", "Gerät", "--ca-column", "CA", "--skip-invalid", "--protect", "p.csv", "--skip-protected")
    lanes = [part for address in OTHER_ADDRESSES for part in ("--source-address", address)]
    more = ("--max-errors", "7", "--rate", "50", "--per-address-rate", "40", "--min-rows", "7", "--limit-rows", "1")
    where = ("--endpoint", service.url, "--instance", INSTANCE, "--yes", "-o", "r.csv")
    here("run", "inactivate-device", "list.csv", *where, *own, *lanes, *more).ended(75)
    (tmp_path / "list.csv").unlink()


def test_stored_options(tmp_path, interrupted):
    """What was typed at the start holds, from wherever it is resumed; what is typed or set now wins."""
    results = tmp_path / "r.csv"
    again = ("resume", results, "--yes", "--json", "-q", "--limit-rows", "1")
    caps = json.loads(here(*again, cwd="/").ended(75).stdout)["caps"]
    assert caps == {"account": 50, "address": 40, "lane": 25, "source_addresses": OTHER_ADDRESSES}
    env = {"BULKCERT_PER_ADDRESS_RATE": "30", "BULKCERT_RATE": "45"}
    caps = json.loads(here(*again, "--rate", "20", cwd="/", env=env).ended(75).stdout)["caps"]
    assert (caps["account"], caps["address"]) == (20, 30)
    done = json.loads(here("resume", results, "--yes", "--json", cwd="/").ended(1).stdout)

    assert (done["caps"]["account"], done["caps"]["address"]) == (20, 30), "those of the newest start"
    assert done["outcomes"] == {"succeeded": 5, "invalid": 1, "protected": 1}
    assert list(read_results(results)[0])[:3] == ["no", "Gerät", "CA"]


def test_options_that_lead_elsewhere(tmp_path, interrupted, service):
    """Another instance, or another service, is another run; a list of protected serials that is gone is missed (66)."""
    before = service.report().arrivals
    for more, status, told in (
        (("--instance", "post-cn-other"), 65, f"the instance ({INSTANCE} there, post-cn-other now)"),
        (("--endpoint", "http://127.0.0.1:9"), 65, "the endpoint"),
        (("--protect", "none.csv"), 66, "none.csv: no such file"),
        (("--min-rows", "8"), 65, "7 rows"),
        (("--overwrite",), 2, "Unknown option: --overwrite"),
        (("--limit-rows", "0"), 2, "--limit-rows must be at least 1, not 0"),
        (("--source-address", "127.0.0.1", "127.0.0.2"), 2, "'127.0.0.2': unexpected argument"),
    ):
        assert told in here("resume", "r.csv", "--yes", *more).ended(status).stderr
    (tmp_path / "p.csv").unlink()
    assert "p.csv: no such file" in here("resume", "r.csv", "--yes").ended(66).stderr
    assert service.report().arrivals == before


# Wrong options.


def test_all_wrong_options_at_once():
    """Several wrong values are told in one go."""
    wrong = {
        "--rate": "0",
        "--attempts": "0",
        "--timeout": "-1",
        "--max-errors": "many",
        "--source-address": "192.0.2.1",
        "--limit-rows": "0",
        "--max-in-flight": "0",
        "--results": "results.txt",
    }
    options = [part for pair in wrong.items() for part in pair]
    refused = here("run", "inactivate-device", "x.csv", *options).ended(2)

    for name in [*wrong, "--instance", "--region"]:
        assert name in refused.stderr


# Rehearsals.

REHEARSE = ("rehearse", "inactivate-device", "devices.csv", "--json", "-q", *UNHURRIED)


def test_rehearse_a_job(tmp_path, job):
    """A job is rehearsed from anywhere, without credentials, from two addresses; its results have their own name."""
    write_devices(tmp_path / "devices.csv", 300)
    path = job("rate = 100000\nper-address-rate = 100000\nlimits-raised = true", look="auto")
    shown = bulkcert("rehearse", "--job", path, cwd="/", env=NO_KEY).ended(0)

    # One CA: three full pages, which settle every row, before the calls.
    assert "emulator saw  303 calls" in shown.stdout
    assert "127.0.0.2" in shown.stdout
    assert "127.0.0.3" in shown.stdout
    assert "changes     300 carried out" in shown.stdout
    assert outcomes(tmp_path / "results.rehearsal.csv") == {"succeeded": 300}
    assert not (tmp_path / "results.csv").exists()


def test_rehearse_a_job_of_the_environment(tmp_path, job):
    """BULKCERT_JOB and the like are the rehearsal's, not its emulator's."""
    env = {"BULKCERT_JOB": str(job()), "BULKCERT_CLOCK_OFFSET": "7200", **NO_KEY}
    here("rehearse", env=env, cwd=tmp_path).ended(0)


def test_rehearse_faults(tmp_path):
    """With --faults the seed is printed, and taken again; all rows get there all the same."""
    write_devices(tmp_path / "devices.csv", 300)
    first = here(*REHEARSE, "--faults", cwd=tmp_path, env=NO_KEY).ended(0)
    assert sum(json.loads(first.stdout)["emulator"]["faults"].values()) > 0
    seed = first.stderr.split("--fault-seed ")[1].split()[0]
    write_devices(tmp_path / "devices.csv", 3)
    again = here(*REHEARSE, "--faults", "--fault-seed", seed, cwd=tmp_path, env=NO_KEY).ended(0)

    assert f"faults with --fault-seed {seed}" in again.stderr

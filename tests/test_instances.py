"""Lists that name several instances, and their regions, in columns of their own: the whole program."""

import csv
import json
import re
from functools import partial

import anyio
import polars as pl
import pytest
from program import KEY_ID, SECRET, UNHURRIED, emulator, free_port, here, outcomes, read_results, summary_of
from program import bulkcert as started

import bulkcert
from bulkcert import Credentials, Job
from bulkcert.engine import failures, lanes
from bulkcert.runs import run as run_session
from bulkcert.runs import target

A, B = "post-cn-aaa", "post-cn-bbb"
CA = "00ca000001"
"""A CA of the same serial in both instances: nothing but the instance distinguishes them."""


@pytest.fixture(scope="module")
def running():
    """Runs three emulators for all tests: one with both instances, and one for each."""
    with emulator(instances=(A, B)) as both, emulator(instances=(A,)) as first, emulator(instances=(B,)) as second:
        yield both, first, second


def emptied(service):
    """Returns an emulator that knows no certificates, has made no changes and answers all calls."""

    def empty():
        for table in ("devices", "cas"):
            service._emulator.registry._db.execute(f"DELETE FROM {table}")
        service._emulator.registry._db.execute("DELETE FROM instances WHERE Id NOT IN (?, ?)", (A, B))
        service._emulator.registry._lists.clear()
        service._emulator.changes = 0
        service._calls.clear()

    service._portal.call(empty)
    service.tell("faults", shares={})
    return service


@pytest.fixture
def service(running):
    """Returns an emulator with two instances."""
    return emptied(running[0])


def rows_of(counts, ca=CA):
    """Returns rows of a list: so many devices of each instance, the instances in turn."""
    rows = [(f"00{number:08d}", ca, instance) for instance, count in counts.items() for number in range(count)]
    return sorted(rows)


def write(path, rows, header=("DeviceSn", "CaSn", "MqttInstanceId")):
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    return path


def seed(service, rows, status="1"):
    for instance in {instance for *_, instance in rows}:
        service.seed([(device, ca) for device, ca, at in rows if at == instance], status, instance=instance)


PLACES = {A: "cn-hangzhou", B: "cn-beijing"}
BY_REGION = ("DeviceSn", "CaSn", "MqttInstanceId", "RegionId")
OTHER_NAME = ("DeviceSn", "CaSn", "mqtt")


def listed(service, directory, counts, statuses=None, header=("DeviceSn", "CaSn", "MqttInstanceId")):
    """Writes and registers a list of so many devices of each instance, which are active where no status is given.

    Takes the emulator, or that of each instance; returns the list's rows, its path, and where results go.
    """
    rows = rows_of(counts)
    for instance, emulator_ in (service if isinstance(service, dict) else dict.fromkeys(counts, service)).items():
        seed(emulator_, [row for row in rows if row[2] == instance], (statuses or {}).get(instance, "1"))
    written = [(*row, PLACES[row[2]]) for row in rows] if len(header) > len(rows[0]) else rows
    return rows, write(directory / "list.csv", written, header), directory / "r.csv"


def states(service, instance):
    """Returns the status of each device of an instance."""
    found = service._portal.call(service._emulator.registry.states, instance)
    return {device: status for (_, *serials), status in found.items() for device in serials}


def where(service, *more):
    return ("--endpoint", service.url, *UNHURRIED, *more)


def run(service, path, *more, action="inactivate-device", status=0):
    return here("run", action, path, *where(service), "--yes", "-q", "-o", path.with_name("r.csv"), *more).ended(status)


def planned(service, path, *more, status=0, action="inactivate-device"):
    shown = here("plan", action, path, *where(service), "-q", "--json", *more).ended(status).stdout
    return json.loads(shown)


def test_each_row_is_called_on_the_instance_that_it_names(service, tmp_path):
    """Rows of the same serials under two instances are two certificates: each is called there, and nowhere else."""
    rows, path, results = listed(service, tmp_path, {A: 3, B: 3})
    write(path, [*rows, rows[0]])
    seed(service, [("other", CA, B)])

    run(service, path)

    assert set(states(service, A).values()) == {"0"}
    assert states(service, B) == {device: "0" for device, *_ in rows} | {"other": "1"}
    assert outcomes(results) == {"succeeded": 6, "duplicate": 1}
    assert [row["MqttInstanceId"] for row in read_results(results)] == [row[2] for row in [*rows, rows[0]]]
    summary = summary_of(results)
    assert (summary["instance"], summary["instances"]) == ("", {A: service.url, B: service.url})


def outcomes_by_instance(results):
    return {(row["MqttInstanceId"], row["outcome"]) for row in read_results(results)}


@pytest.mark.parametrize("preflight", ["auto", "always"])
def test_states_are_read_by_instance(service, tmp_path, preflight):
    """What is off already in one instance gets no call there, and its twin in the other does."""
    rows, path, results = listed(service, tmp_path, {A: 120, B: 120}, {A: "0", B: "1"})

    run(service, path, "--preflight", preflight)

    assert outcomes_by_instance(results) == {(A, "unchanged"), (B, "succeeded")}
    reads = [call for call in service.calls() if call["operation"] == "GetDeviceCertificate"]
    assert len(reads) == (0 if preflight == "auto" else len(rows)) or preflight == "always"


def test_verify_watch_and_undo_by_instance(service, tmp_path):
    """What was changed is read back, called again where somebody has switched it on, and changed back, each there."""
    rows, path, results = listed(service, tmp_path, {A: 60, B: 60}, {A: "0", B: "1"})
    run(service, path)

    assert "120" in here("verify", results, *UNHURRIED).ended(0).stdout
    seed(service, [row for row in rows if row[2] == B])
    here("verify", results, *UNHURRIED, "--watch", "1s", "--every", "1s", "--yes", "-q").ended(0)
    assert set(states(service, B).values()) == {"0"}
    here("undo", results, *UNHURRIED, "--yes", "-q").ended(0)

    assert set(states(service, A).values()) == {"0"}, "these were off before"
    assert set(states(service, B).values()) == {"1"}
    assert outcomes(results) == {"unchanged": 60, "undone": 60}


def test_resume_and_failed_rows(service, tmp_path):
    """A run that stopped early is resumed from its store alone; the failed rows carry the column, and are an input."""
    rows = rows_of({A: 4, B: 4})
    path, results = write(tmp_path / "list.csv", rows), tmp_path / "r.csv"
    seed(service, [row for row in rows if row != rows[-1]])

    run(service, path, "--limit-rows", 3, "--preflight", "never", status=75)
    path.unlink()
    here("resume", results, *UNHURRIED, "--yes", "-q").ended(1)

    assert outcomes(results) == {"succeeded": 7, "not_registered": 1}
    failed = tmp_path / "r.csv.failed.csv"
    assert [row["MqttInstanceId"] for row in read_results(failed)] == [rows[-1][2]]
    seed(service, [rows[-1]])
    here("run", "inactivate-device", failed, *where(service), "--yes", "-q", "-o", tmp_path / "again.csv").ended(0)
    assert states(service, rows[-1][2])[rows[-1][0]] == "0"


def test_the_run_belongs_to_its_instances(service, tmp_path):
    """A list with other instances is another list, and an instance that is given for it is refused."""
    rows, path, results = listed(service, tmp_path, {A: 1, B: 1})
    run(service, path)
    write(path, [(device, ca, {A: B, B: A}[instance]) for device, ca, instance in rows])

    assert "differs in the list" in run(service, path, status=65).stderr.replace("\n", " ")
    for command in ("verify", "resume"):
        refused = here(command, results, "--instance", A, *UNHURRIED).ended(65).stderr
        assert "these results are of 2 instances, not of post-cn-aaa" in " ".join(refused.split())


def test_a_row_without_an_instance_is_invalid(service, tmp_path):
    """A value that is blank or no ID is an invalid row in words of its own: never called, and never hidden."""
    rows = [*rows_of({A: 1, B: 1}), ("0001", CA, ""), ("0002", CA, "post cn"), ("", CA, "")]
    path = write(tmp_path / "list.csv", rows)
    seed(service, rows[:2])

    refused = run(service, path, status=65).stderr
    assert "3 of 5 rows are invalid" in refused
    assert "list.csv:4: MqttInstanceId is blank" in refused
    assert "list.csv:5: MqttInstanceId must be letters" in refused
    run(service, path, "--skip-invalid", status=1)

    messages = [row["message"] for row in read_results(tmp_path / "r.csv")[2:]]
    assert messages[0] == "MqttInstanceId is blank"
    assert messages[1].startswith("MqttInstanceId must be letters, digits, - and _ only")
    assert messages[2] == "DeviceSn is blank"
    assert outcomes(tmp_path / "r.csv") == {"succeeded": 2, "invalid": 3}
    nothing = write(tmp_path / "nothing.csv", rows[2:])
    run(service, nothing, "--skip-invalid", "--overwrite", status=1)
    here("verify", tmp_path / "r.csv", "-q").ended(1)
    here("undo", tmp_path / "r.csv", "--yes").ended(0)


@pytest.mark.parametrize(
    ("values", "status"), [((A, A), 0), ((A, ""), 0), ((A, B), 65)], ids=["agrees", "blank", "contradicts"]
)
def test_an_instance_that_is_given_must_agree(service, tmp_path, values, status):
    """--instance holds for all rows; one that names another keeps the run from starting, so that none is misled."""
    rows = [(f"00{number}", CA, value) for number, value in enumerate(values)]
    path = write(tmp_path / "list.csv", rows)
    seed(service, [(device, ca, A) for device, ca, _ in rows])

    ran = run(service, path, "--instance", A, status=status)

    if status:
        assert "line 3, column MqttInstanceId: post-cn-bbb, and not post-cn-aaa; no calls were made" in ran.stderr
        assert not (tmp_path / "r.csv.run").exists()
    assert len(service.calls()) >= (0 if status else 2)
    assert set(states(service, A).values()) == {"1" if status else "0"}


def test_a_list_of_one_instance_is_a_run_of_that_instance(service, tmp_path):
    """A column that names one instance throughout stands for --instance: the same run, with either."""
    _, path, results = listed(service, tmp_path, {A: 3})

    assert (plan := planned(service, path))["instance"] == A
    assert (plan["instance_column"], plan["instances"]) == ("MqttInstanceId", [])
    planned(service, path, "-o", tmp_path / "x.plan.json")
    here("run", "--plan", tmp_path / "x.plan.json", "--yes", "-q", "-o", results, *UNHURRIED).ended(0)
    run(service, path)
    run(service, path, "--instance", A)

    summary = summary_of(results)
    assert (summary["instance"], summary["instances"]) == (A, {})


def test_nothing_says_which_instance(service, tmp_path):
    """Neither an option nor a column: refused as a wrong option, with all that is missing, before any row is read."""
    path = write(tmp_path / "list.csv", [("1", "2")], ("DeviceSn", "CaSn"))

    refused = here("run", "inactivate-device", path, "--yes", "-o", tmp_path / "r.csv").ended(2).stderr

    assert "--instance is missing" in refused
    assert "--region is missing" in refused
    assert [*tmp_path.iterdir()] == [path]
    named = here("plan", "inactivate-device", path, *where(service), "--instance-column", "Instance").ended(65).stderr
    assert "no column is named 'Instance'" in named


def test_a_kept_plan_binds_the_instances(service, tmp_path):
    """A run is refused where the list names other instances than the plan, which keeps the name of their column."""
    rows, path, results = listed(service, tmp_path, {A: 2, B: 2}, header=OTHER_NAME)
    plan, moved, named = tmp_path / "x.plan.json", tmp_path / "moved.csv", ("--instance-column", "mqtt")
    planned(service, path, *named, "-o", plan)
    write(moved, [rows[0], *((device, ca, A) for device, ca, _ in rows[1:])], OTHER_NAME)
    bound = ("run", "--plan", plan, "--yes", "-q", "-o", results)

    assert "is not the one of the plan" in here(*bound, "--input", moved).ended(65).stderr
    other = here(*bound, "--instance", A).ended(2).stderr
    assert "--instance: post-cn-aaa is not what was planned, several" in other
    here(*bound).ended(0)
    assert set(states(service, A).values()) | set(states(service, B).values()) == {"0"}
    write(moved, [(device, ca, A) for device, ca, _ in rows[:2:2]], OTHER_NAME)
    planned(service, moved, *named, "-o", plan, "--overwrite")
    write(moved, [(device, ca, B) for device, ca, _ in rows[:2:2]], OTHER_NAME)
    one = here("run", "--plan", plan, "--yes", "-q", "-o", tmp_path / "s.csv", "--instance", A).ended(65).stderr
    assert "column mqtt: post-cn-bbb, and not post-cn-aaa" in one


def test_the_plan_shows_rows_by_instance(service, tmp_path):
    """Rows by instance and by CA, each with its instance, and which column was used; every number is in the JSON."""
    _, path, _ = listed(service, tmp_path, {A: 5, B: 3}, {A: "1", B: "0"})

    shown = here("plan", "inactivate-device", path, *where(service), "-q").ended(0).stdout
    plan = planned(service, path)

    assert f"instance      2 instances at {service.url}: reachable" in shown
    assert "by the column MqttInstanceId of the list" in shown
    assert re.search(r"^instance +rows +already +not registered +to change +of rows$", shown, re.MULTILINE)
    assert re.search(rf"^{A} +5 +0 +0 +5 +62 %$", shown, re.MULTILINE)
    assert re.search(r"^all instances +8 +3 +0 +5$", shown, re.MULTILINE)
    assert re.search(rf"^{A}\n{CA} +5 .*\n{B}\n{CA} +3 +3 +0 +0 +37 %", shown, re.MULTILINE)
    assert [(each["instance"], each["rows"], each["already"]) for each in plan["instances"]] == [(A, 5, 0), (B, 3, 3)]
    assert {each["instance_ok"] for each in plan["instances"]} == {True}
    assert [(ca["ca_sn"], ca["instance"], ca["rows"]) for ca in plan["cas"]] == [(CA, A, 5), (CA, B, 3)]


def test_a_wrong_instance_is_found_before_the_first_change(service, tmp_path):
    """Each instance is asked for first: one that is not there ends plan and run with 78, and nothing is changed."""
    rows = rows_of({A: 3, "post-cn-gone": 1})
    path = write(tmp_path / "list.csv", rows)
    seed(service, [row for row in rows if row[2] == A])

    for ran in (
        here("plan", "inactivate-device", path, *where(service), "-q").ended(78),
        run(service, path, "--preflight", "never", status=78),
    ):
        assert f"post-cn-gone at {service.url}: MqttInstanceNotFound" in " ".join(ran.stderr.split())
    assert service.report().changes == 0


def test_actions_on_cas(service, tmp_path):
    """A CA is called, counted and confirmed in its instance: the devices of its twin elsewhere are not touched."""
    path = write(tmp_path / "list.csv", [(CA, A), (CA, B), ("00ca000002", B)], ("CaSn", "MqttInstanceId"))
    seed(service, [*rows_of({A: 3, B: 7}), *rows_of({B: 2}, "00ca000002")])

    plan = planned(service, path, action="delete-ca")
    registered = {(ca["ca_sn"], ca["instance"]): ca["registered"] for ca in plan["cas"]}
    assert registered == {("00ca000002", B): 2, (CA, A): 3, (CA, B): 7}
    assert plan["devices"] == 12
    here("run", "delete-ca", path, *where(service), "--yes", "-q", "-o", tmp_path / "r.csv").ended(2)
    write(path, [(CA, A), (CA, B)], ("CaSn", "MqttInstanceId"))
    run(service, path, "--confirm-devices", 10, action="delete-ca")

    assert states(service, A) == {}
    assert len(states(service, B)) == 2, "another CA with its two devices"


def test_cas_that_are_off_are_found_by_instance(service, tmp_path):
    """Listings of CAs are read instance by instance."""
    cas = [(f"00ca{number:06d}", instance) for number in range(70) for instance in (A, B)]
    path = write(tmp_path / "list.csv", cas, ("CaSn", "MqttInstanceId"))
    for status, instance in (("0", A), ("1", B)):
        service.tell("seed", instance=instance, rows=[(ca, "") for ca, at in cas if at == instance], status=status)

    run(service, path, action="inactivate-ca")

    assert outcomes_by_instance(tmp_path / "r.csv") == {(A, "unchanged"), (B, "succeeded")}


def test_protected_serials_hold_in_every_instance(service, tmp_path):
    """A protect list has no instances: what is on it is protected wherever it is."""
    rows, path, results = listed(service, tmp_path, {A: 2, B: 2})
    keep = tmp_path / "keep.txt"
    keep.write_text(f"{rows[0][0]}\n")

    run(service, path, "--protect", keep, "--skip-protected", status=1)

    assert outcomes(results) == {"protected": 2, "succeeded": 2}
    assert states(service, A)[rows[0][0]] == states(service, B)[rows[0][0]] == "1"


def test_what_shows_a_run_shows_its_instances(service, tmp_path):
    """By instance and by CA, in English and in Chinese, in every format; a certificate is named with its instance.

    How many instances a run is of is said wherever its instance would be.
    """
    rows = rows_of({A: 5, B: 3})
    path, results = write(tmp_path / "list.csv", rows), tmp_path / "r.csv"
    seed(service, rows[:-1])
    run(service, path, status=1)

    text = here("report", results, "--format", "text").ended(0).stdout
    assert "inactivate-device on 2 instances" in text
    assert "By instance" in text
    assert re.search(rf"{A} +{re.escape(service.url)} +5 +", text)
    assert re.search(rf"{CA} +{B} +3 ", text)
    figures = json.loads(here("report", results, "--format", "json").ended(0).stdout)
    assert [(each["instance"], each["rows"]) for each in figures["instances"]] == [(A, 5), (B, 3)]
    assert [sample["instance"] for each in figures["findings"] for sample in each["samples"]] == [rows[-1][2]]
    chinese = here("report", results, "--format", "md", "--language", "zh").ended(0).stdout
    assert "按实例" in chinese
    assert "2 个实例" in chinese
    here("report", results).ended(0)
    shown, lines = (here("status", results, *more).ended(1).stdout for more in ((), ("--json",)))
    assert f"inactivate-device on 2 instances at {service.url}" in " ".join(shown.split())
    assert json.loads(lines)["instances"] == {A: service.url, B: service.url}
    assert "2 instances" in here("runs", tmp_path).ended(0).stdout
    here("export", results, "-o", tmp_path / "e.csv", "--ca-sn", CA).ended(0)
    assert len(read_results(tmp_path / "e.csv")) == 8


def test_a_rehearsal_has_the_instances_of_the_list(tmp_path):
    """The emulator is filled by instance; verify and undo follow against it."""
    path = write(tmp_path / "list.csv", rows_of({A: 3, B: 2}))

    steps = ("--and-then", "verify", "--and-then", "undo")
    ran = here("rehearse", "inactivate-device", path, *steps, "-o", tmp_path / "r.csv", "--latency-ms", 0, 0).ended(0)

    assert "2 instances at http://127.0.0.1" in ran.stderr
    assert outcomes(tmp_path / "r.rehearsal.csv") == {"undone": 5}
    named = write(tmp_path / "one.csv", rows_of({A: 3}))
    here("rehearse", "inactivate-device", named, "-o", tmp_path / "s.csv", "--cluster-lanes", 0).ended(0)
    assert summary_of(tmp_path / "s.rehearsal.csv")["instance"] == A


def test_lanes_of_a_cluster_call_the_instance_of_each_row(service, tmp_path):
    """Each call says which instance it is for, whoever makes it."""
    _, path, _ = listed(service, tmp_path, {A: 2, B: 3})

    cluster = ("--cluster", f"tcp://127.0.0.1:{free_port()}")
    started("run", "inactivate-device", path, *where(service), *cluster, "--yes", "-o", tmp_path / "r.csv").ended(0)

    started("verify", tmp_path / "r.csv", *cluster).ended(0)
    assert [set(states(service, instance).values()) for instance in (A, B)] == [{"0"}, {"0"}]


def test_inventories_are_one_list(service, tmp_path):
    """An inventory says where its certificates are, so that several of them are a list of several instances."""
    rows = rows_of({A: 3, B: 2})
    seed(service, rows)
    files = []
    for instance in (A, B):
        files.append(tmp_path / f"{instance}.csv")
        here("inventory", *where(service), "--instance", instance, "-o", files[-1]).ended(0)

    results = tmp_path / "r.csv"
    here("run", "inactivate-device", *files, *where(service), "--yes", "-q", "-o", results).ended(0)

    assert set(states(service, A).values()) | set(states(service, B).values()) == {"0"}
    wrong = here("run", "inactivate-device", files[0], *where(service), "--instance", B, "--yes", "-o", results)
    assert "post-cn-aaa, and not post-cn-bbb" in wrong.ended(65).stderr


@pytest.fixture
def regions(running, monkeypatch):
    """Returns an emulator in each of two regions, with one instance each."""
    hangzhou, beijing = map(emptied, running[1:])
    urls = {"cn-hangzhou": hangzhou.url, "cn-beijing": beijing.url}
    monkeypatch.setattr(target, "region_url", lambda region, *, vpc: target.httpx.URL(urls[region]))
    return hangzhou, beijing


def test_regions_by_column(regions, tmp_path, inside):
    """Each instance is called in its own region, found by the list alone; so do verify, undo and resume."""
    hangzhou, beijing = regions
    _, path, results = listed({A: hangzhou, B: beijing}, tmp_path, {A: 4, B: 4}, header=BY_REGION)

    plan = here("plan", "inactivate-device", path, "-q").ended(0).stdout
    assert "2 instances at 2 endpoints: reachable" in plan
    assert "by the columns MqttInstanceId and RegionId of the list" in plan
    ran = ("inactivate-device", path, "--yes", "-q", "-o", "r.csv", *UNHURRIED)
    here("run", *ran, "--limit-rows", 3).ended(75)
    here("resume", "r.csv", "--yes", "-q").ended(0)
    assert set(states(hangzhou, A).values()) == set(states(beijing, B).values()) == {"0"}
    assert summary_of(results)["instances"] == {A: hangzhou.url, B: beijing.url}
    here("verify", "r.csv", "-q").ended(0)
    here("undo", "r.csv", "--yes", "-q").ended(0)
    assert set(states(hangzhou, A).values()) == set(states(beijing, B).values()) == {"1"}
    here("plan", "inactivate-device", path, "-q", "-o", "x.plan.json").ended(0)
    here("run", "--plan", "x.plan.json", "--yes", "-q", "-o", "bound.csv").ended(0)
    assert set(states(hangzhou, A).values()) == set(states(beijing, B).values()) == {"0"}
    elsewhere = here("verify", "r.csv", "--endpoint", hangzhou.url).ended(65).stderr
    assert f"these results are from 2 endpoints, not from {hangzhou.url}" in " ".join(elsewhere.split())


def test_the_limit_holds_over_all_regions(regions, tmp_path):
    """One bucket an address, whatever it calls: no second holds more sends than the account's limit in all."""
    hangzhou, beijing = regions
    _, path, results = listed({A: hangzhou, B: beijing}, tmp_path, {A: 60, B: 60}, header=BY_REGION)

    pace = ("--rate", 40, "--per-address-rate", 1000, "--limits-raised")
    here("run", "inactivate-device", path, *pace, "--preflight", "never", "--yes", "-q", "-o", results).ended(0)

    assert summary_of(results)["peak_window"] <= 40
    assert (hangzhou.report().changes, beijing.report().changes) == (60, 60)


def test_a_region_column_with_mistakes(regions, tmp_path):
    """A region that there is not is an invalid row; an instance in two regions is a list that contradicts itself."""
    path = tmp_path / "list.csv"
    header = ("DeviceSn", "CaSn", "MqttInstanceId", "where")
    rows = [("1", CA, A, "cn-hangzhou"), ("2", CA, B, "cn-beijing"), ("3", CA, B, "cn-hangzou"), ("4", CA, B, "")]
    named = ("plan", "inactivate-device", write(path, rows, header), "--region-column", "where", "-q")

    refused = here(*named).ended(65).stdout
    assert "list.csv:4: where is not a region of the service" in refused
    assert "list.csv:5: where is blank" in refused
    write(path, [*rows[:2], ("5", CA, A, "cn-beijing")], header)
    twice = here(*named).ended(65).stderr
    assert "the instance post-cn-aaa is in two regions, cn-hangzhou and cn-beijing" in twice
    write(path, rows[:2], header)
    given = here(*named, "--region", "cn-hangzhou").ended(65).stderr
    assert "column where: cn-beijing, and not cn-hangzhou" in given


def test_one_region_that_is_silent(regions, tmp_path, monkeypatch):
    """An endpoint that cannot be reached is named before anything is changed in the others."""
    hangzhou, _ = regions
    _, path, results = listed({A: hangzhou}, tmp_path, {A: 2, B: 2}, header=BY_REGION)
    urls = {"cn-hangzhou": hangzhou.url, "cn-beijing": "http://127.0.0.1:9"}
    monkeypatch.setattr(target, "region_url", lambda region, *, vpc: target.httpx.URL(urls[region]))
    ran = here("run", "inactivate-device", path, *UNHURRIED, "--attempts", 2, "--yes", "-q", "-o", results)

    assert f"{B} at http://127.0.0.1:9: the service never answered" in " ".join(ran.ended(69).stderr.split())
    assert hangzhou.report().changes == 0


def test_a_column_of_numbers(service, tmp_path):
    """It is no column of instances."""
    table = pl.DataFrame({"DeviceSn": ["1"], "CaSn": ["a"], "mqtt_instance_id": [7]})
    table.write_parquet(tmp_path / "n.parquet")
    refused = here("plan", "inactivate-device", tmp_path / "n.parquet", *where(service)).ended(65).stderr
    assert "column mqtt_instance_id: holds numbers" in " ".join(refused.split())


def test_a_region_that_falls_silent_later(regions, tmp_path, monkeypatch):
    """While an endpoint is silent none of its rows pays for it, though others answer; the run stops, and says where."""
    hangzhou, beijing = regions
    _, path, results = listed({A: hangzhou, B: beijing}, tmp_path, {A: 40, B: 40}, header=BY_REGION)
    asked = run_session.ask_instances

    async def asked_then_silent(lanes):
        await asked(lanes)
        beijing.tell("faults", shares={"drop-before": 1.0})

    monkeypatch.setattr(run_session, "ask_instances", asked_then_silent)
    monkeypatch.setattr(failures, "SILENCE_S", 0.5)
    monkeypatch.setattr(lanes, "PAUSE_S", 0.1)

    pace = ("--preflight", "never", "--max-in-flight", 30, *UNHURRIED, "--yes", "-q", "-o", results)
    stopped = here("run", "inactivate-device", path, *pace, "--attempts", 3).ended(69)

    assert f"{B} at {beijing.url}: no answer for" in " ".join(stopped.stderr.split())
    found = {(A, "succeeded"), (A, "not_attempted"), (B, "unknown"), (B, "not_attempted")}
    assert outcomes_by_instance(results) <= found
    beijing.tell("faults", shares={})
    here("resume", results, "--yes", "-q").ended(0)
    assert outcomes(results) == {"succeeded": 80}


def test_the_python_api(service, tmp_path):
    """A job needs no instance where its list names them."""
    rows, path, results = listed(service, tmp_path, {A: 3, B: 3}, header=OTHER_NAME)
    pace = {"rate": 100_000, "per_address_rate": 100_000, "limits_raised": True}
    job = Job("inactivate-device", path, endpoint=service.url, instance_column="mqtt", results=results, **pace)
    key = Credentials(KEY_ID, SECRET)

    plan = anyio.run(partial(bulkcert.plan, job, credentials=key))
    assert [each.instance for each in plan.instances] == [A, B]
    assert anyio.run(partial(bulkcert.run, job, credentials=key)).exit_status == 0
    assert anyio.run(partial(bulkcert.verify, job, credentials=key)).wanted == 6
    assert bulkcert.results(job).collect()["mqtt"].to_list() == [instance for *_, instance in rows]


def test_a_job_file_and_the_environment(service, tmp_path):
    """The columns are keys of a job file, and variables; an instance that is given there counts as given."""
    listed(service, tmp_path, {A: 1, B: 1}, header=OTHER_NAME)
    job = tmp_path / "job.toml"
    job.write_text(
        f'action = "inactivate-device"\ninput = "list.csv"\nendpoint = "{service.url}"\ninstance-column = "mqtt"'
    )
    command = ("plan", "--job", job, "-q", "--json")

    assert len(json.loads(here(*command).ended(0).stdout)["instances"]) == 2
    refused = here(*command, env={"BULKCERT_INSTANCE_COLUMN": "CaSn"}).ended(65).stderr
    assert "column CaSn cannot hold two things" in refused
    assert f"{B}, and not {A}" in here(*command, env={"BULKCERT_INSTANCE": A}).ended(65).stderr

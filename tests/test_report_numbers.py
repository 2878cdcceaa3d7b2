"""``report``: every number of it, held against a count of the results that shares no code with it."""

import csv
import hashlib
import html
import json
import math
import os
import pwd
import random
import re
import shutil
import socket
from collections import Counter, defaultdict
from datetime import datetime

import pytest
from program import (
    INSTANCE,
    KEY_ID,
    SECRET,
    UNHURRIED,
    bulkcert,
    emulator,
    here,
    read_results,
    start,
    summary_of,
    wait_for,
    write_devices,
)

from bulkcert.store.outcome import Outcome

FAULTS = {"ParameterFieldCheckFailed": 0.06, "internal-error": 0.05, "drop-before": 0.04, "throttle": 0.02}


def at(text):
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def write_list(path):
    """Writes 600 certificates of five CAs, two of them twice, and three that cannot be; returns the pairs."""
    chosen = random.Random(4)
    pairs = [(f"00{number:010d}", f"00ca{chosen.choice((1, 1, 1, 2, 2, 3, 4, 5)):06d}") for number in range(600)]
    rows = [*pairs, pairs[0], pairs[1], ("", pairs[0][1]), ("NULL", pairs[1][1]), (" 1", "")]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("DeviceSn", "CaSn", "code"), *((*row, "own") for row in rows)])
    return pairs


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """A run that ended with each outcome there is, in two starts, verified after somebody has meddled."""
    place = tmp_path_factory.mktemp("run")
    pairs = write_list(place / "l.csv")
    (place / "protected.txt").write_text(f"{pairs[500][0]}\n{pairs[501][0]}\n")
    options = (
        "--skip-invalid",
        "--skip-protected",
        "--protect",
        "protected.txt",
        "-o",
        "r.csv",
        "--max-errors",
        "100%",
    )
    with emulator(place) as service:
        command = ("run", "inactivate-device", "l.csv", *service.looking, *options, "--preflight", "always", "-q")
        service.seed(pairs[:200], "0")
        service.seed(pairs[220:], "1")
        bulkcert(*command, "--limit-rows", "1", cwd=place).ended(75)
        service.tell("faults", shares=FAULTS, seed=2)
        bulkcert(*command, "--limit-rows", "350", "--attempts", "1", cwd=place).ended(75)
        service.tell("faults", shares={})
        done = [row for row in read_results(place / "r.csv") if row["outcome"] == "succeeded"]
        service.seed([(done[0]["DeviceSn"], done[0]["CaSn"])], "1")
        service.tell("delete", instance=INSTANCE, ca_sn=done[1]["CaSn"], device_sn=done[1]["DeviceSn"])
        bulkcert("verify", "r.csv", *UNHURRIED, "-q", cwd=place).ended(1)
    return place


@pytest.fixture(scope="module")
def rows(directory):
    return read_results(directory / "r.csv")


@pytest.fixture(scope="module")
def told(directory):
    return json.loads(bulkcert("report", "r.csv", "--format", "json", cwd=directory).ended(0).stdout)


def test_the_run_has_every_outcome(rows):
    """What this module counts is worth counting."""
    assert {row["outcome"] for row in rows} == set(map(str, Outcome)) - {"undone"}


def test_outcomes(rows, told):
    """Rows by outcome, their shares, and which of them count in the desired state."""
    counts = Counter(row["outcome"] for row in rows)
    assert {each["outcome"]: each["rows"] for each in told["outcomes"]} == counts
    assert all(math.isclose(each["share"], counts[each["outcome"]] / len(rows)) for each in told["outcomes"])
    wanted = {each["outcome"]: each["wanted"] for each in told["outcomes"]}
    assert {outcome for outcome, word in wanted.items() if word == "yes"} == {"succeeded", "unchanged"}
    assert told["asked"]["rows"] == len(rows)


def test_cas(rows, told):
    """Rows by CA and outcome, the most rows first."""
    counts = defaultdict(Counter)
    for row in rows:
        counts[row["CaSn"]][row["outcome"]] += 1
    assert {ca["ca_sn"]: ca["outcomes"] for ca in told["cas"]} == counts
    assert all(ca["rows"] == counts[ca["ca_sn"]].total() for ca in told["cas"])
    assert all(
        ca["wanted"] == sum(counts[ca["ca_sn"]][name] for name in ("succeeded", "unchanged")) for ca in told["cas"]
    )
    assert [ca["rows"] for ca in told["cas"]] == sorted((ca["rows"] for ca in told["cas"]), reverse=True)
    assert told["cas_in_all"] == len(counts)


def test_findings(rows, told):
    """Rows by outcome and code, each with its first rows as samples, and with something to do."""
    wrong = defaultdict(list)
    for row in rows:
        if row["outcome"] not in ("succeeded", "unchanged", "duplicate"):
            wrong[row["outcome"], row["code"], ""].append(row)
        elif row["outcome"] != "duplicate" and row["verified_status"] not in ("inactive", ""):
            wrong[row["outcome"], row["code"], row["verified_status"]].append(row)
    found = {(each["outcome"], each["code"], each["read_back"]): each for each in told["findings"]}
    assert {key: each["rows"] for key, each in found.items()} == {key: len(of) for key, of in wrong.items()}
    for key, of in wrong.items():
        names = ("row", "DeviceSn", "CaSn", "request_id", "message")
        samples = [
            tuple(str(sample[name]) for name in ("row", "device_sn", "ca_sn", "request_id", "message"))
            for sample in found[key]["samples"]
        ]
        assert samples == [tuple(row[name] for name in names) for row in of[:3]]
        assert found[key]["advice"]
    assert ("succeeded", "", "active") in wrong
    assert told["findings_left_out"] == 0


def test_calls(directory, rows, told):
    """Calls a second: every last attempt is in its bin; what is not is named."""
    sent = [at(row["sent_at"]) for row in rows if row["sent_at"]]
    per_second = Counter(moment // 1000 for moment in sent)
    calls, summary = told["calls"], summary_of(directory / "r.csv")
    assert calls["shown"] == len(sent) == sum(part["calls"] for part in calls["parts"])
    assert calls["run"] == summary["calls"]
    assert calls["verification"] == summary["verification"]["calls"]
    assert calls["not_shown"] == calls["run"] + calls["verification"] - len(sent)
    assert (calls["at_least"], calls["run"]) == (False, sum(start["calls"] for start in told["starts"][:2]))
    assert (calls["retries"], calls["throttles"]) == (summary["retries"], summary["throttles"])
    for part in calls["parts"]:
        first = at(part["started"]) // 1000
        assert part["bin_s"] == 1
        assert part["worst"] == [per_second[first + number] for number in range(len(part["worst"]))]
        assert part["mean"] == part["worst"]


def test_latency(directory, rows, told):
    """Quantiles are values that lie where they must."""
    latencies = sorted(float(row["latency_ms"]) for row in rows if row["latency_ms"])
    latency = told["latency"]
    assert (latency["least"], latency["most"]) == (latencies[0], latencies[-1])
    for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        place = share * (len(latencies) - 1)
        assert latency[name] in (latencies[math.floor(place)], latencies[math.ceil(place)])
        assert latency[name] == summary_of(directory / "r.csv")["latency_ms"][name]


def test_time_to_containment(directory, rows, told):
    """First, half, 99 % of the list and last, from the beginning of the first session."""
    since = at(summary_of(directory / "r.csv")["sessions"][0]["started"])
    times = sorted(at(row["finished_at"]) for row in rows if row["outcome"] in ("succeeded", "unchanged"))
    certificates = sum(row["outcome"] != "duplicate" for row in rows)
    contained = told["containment"]
    assert at(contained["since"]) == since
    assert (contained["certificates"], contained["reached"]) == (certificates, len(times))
    ranks = {
        "first": 1,
        "half": math.ceil(certificates / 2),
        "99 %": math.ceil(0.99 * certificates),
        "last": len(times),
    }
    for stone in contained["milestones"]:
        rank = ranks.pop(stone["name"])
        assert stone["certificates"] == rank
        expected = (times[rank - 1] - since) / 1000 if rank <= len(times) else None
        assert stone["after_s"] == expected
    assert not ranks
    assert contained["steps"][-1] == [(times[-1] - since) / 1000, len(times)]


def test_what_was_read_back(directory, rows, told):
    """Certificates by status, those not read by outcome, duplicates left out; the verdict goes by it."""
    own = [row for row in rows if row["outcome"] != "duplicate"]
    statuses = Counter(row["verified_status"] for row in own if row["verified_status"])
    assert told["verified"]["statuses"] == statuses
    assert sum(told["verified"]["unread"].values()) == sum(not row["verified_status"] for row in own)
    assert told["verified"]["calls"] == summary_of(directory / "r.csv")["verification"]["calls"]
    line = told["verdict"]["line"]
    assert line.startswith(f"{statuses['inactive']:,} of {len(own):,} certificates are inactive; ")
    others = statuses.total() - statuses["inactive"]
    assert f"{others:,} are not: " in line
    assert told["verdict"]["tone"] == "bad"


def test_what_was_asked(directory, told):
    """Action, instance, list, hashes; each start with its figures, and the verification as one of them."""
    asked, summary = told["asked"], summary_of(directory / "r.csv")
    assert (asked["action"], asked["instance"], asked["inputs"]) == ("inactivate-device", INSTANCE, ["l.csv"])
    for name, file in (("input_sha256", "l.csv"), ("results_sha256", "r.csv"), ("recorded_sha256", "r.csv")):
        assert asked[name] == hashlib.sha256((directory / file).read_bytes()).hexdigest()
    starts = told["starts"]
    assert [start["kind"] for start in starts] == ["run", "run", "verify"]
    assert [start["calls"] for start in starts] == [session["calls"] for session in summary["sessions"]]
    assert {start["state"] for start in starts} == {"ended"}
    for each in starts:
        assert (each["user"], each["host"]) == (pwd.getpwuid(os.getuid()).pw_name, socket.gethostname())
        assert each["access_key_id"] == KEY_ID
        assert each["credentials"] == summary["sessions"][0]["credentials"] != ""
    assert [session["access_key_id"] for session in summary["sessions"]] == [KEY_ID] * 3
    assert not [path for path in directory.rglob("*") if path.is_file() and SECRET in path.read_text("latin-1")]


@pytest.mark.parametrize("format_", ["html", "text", "md"])
def test_every_format_has_the_numbers(directory, rows, told, format_):
    """What people read says the same: every count, hash, request id and advice."""
    output = directory / f"report.{format_}"
    bulkcert("report", "r.csv", "--format", format_, "-o", output, cwd=directory).ended(0)
    text = output.read_text()
    if format_ == "html":
        text = html.unescape(re.sub(r"<[^>]+>", " ", text.split("<main>")[1]))
    text = text.replace("\\", "")
    for each in told["outcomes"]:
        assert re.search(rf"\b{each['rows']:,}\b", text)
    assert told["verdict"]["line"] in text
    assert told["asked"]["input_sha256"] in text
    assert told["asked"]["results_sha256"] in text
    for finding in told["findings"]:
        assert finding["advice"] in text
        assert all(sample["request_id"] in text and sample["device_sn"] in text for sample in finding["samples"])


def test_the_results_are_not_needed(directory, tmp_path, told):
    """The store alone gives the same figures: beside results of another kind, and beside none."""
    shutil.copytree(directory / "r.csv.run", tmp_path / "r.csv.run")
    other = json.loads(bulkcert("report", "r.csv", "--format", "json", cwd=tmp_path).ended(0).stdout)
    for part in ("outcomes", "certificates", "cas", "calls", "latency", "containment", "verified", "starts"):
        assert other[part] == told[part], part
    assert other["asked"]["results_sha256"] is None


def test_a_run_that_runs_is_killed_and_is_undone(tmp_path, service):
    """Whatever becomes of a run, the report says how it stands, and disturbs nobody."""
    devices = write_devices(tmp_path / "d.csv", 400)
    service.seed(devices)
    where = ("--endpoint", service.url, "--instance", INSTANCE, "--yes", "-q", "--preflight", "never")

    def report():
        return json.loads(here("report", "r.csv", "--format", "json", cwd=tmp_path).ended(0).stdout)

    slow = ("--rate", "60", "--per-address-rate", "100000")
    with start("run", "inactivate-device", "d.csv", *where, *slow, "-o", "r.csv", cwd=tmp_path) as child:
        wait_for(child, (tmp_path / "r.csv.run/store.sqlite").exists)
        wait_for(child, lambda: _calls(tmp_path, report) > 20)
        running = report()
        child.kill()
    assert (running["state"], running["starts"][0]["state"]) == ("running", "running")
    assert running["verdict"]["steps"] == ["See how far it is: bulkcert status r.csv"]

    killed = report()
    assert (killed["verdict"]["label"], killed["exit_status"]) == ("Unfinished", 75)
    assert killed["calls"]["at_least"]
    assert killed["calls"]["run"] >= 20
    off = service.states(devices).count("0")
    known = killed["certificates"]
    assert known["desired"] <= off <= known["desired"] + known["in_doubt"]
    assert killed["verdict"]["steps"][0] == "To resume: bulkcert resume r.csv"

    here("undo", "r.csv", "--yes", "-q", "--include-unknown", *UNHURRIED, cwd=tmp_path).ended(0)
    undone = report()
    assert undone["verdict"]["label"] == "UNDONE"
    assert service.states(devices).count("0") == 0
    assert undone["certificates"]["undone"] >= off
    assert undone["verdict"]["line"].startswith(f"{undone['certificates']['undone']} of 400 certificates are active")
    assert "To do it again: bulkcert resume r.csv --retry undone" in undone["verdict"]["steps"]


def _calls(tmp_path, report):
    """Returns how many calls a run has reported; 0 while its first session has not begun."""
    refused = here("report", "r.csv", "--format", "json", cwd=tmp_path)
    return report()["calls"]["run"] if refused.status == 0 else 0

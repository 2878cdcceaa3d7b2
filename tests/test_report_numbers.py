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
from program import INSTANCE, KEY_ID, SECRET, UNHURRIED, emulator, here, read_results, summary_of

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
    options = "--skip-invalid --skip-protected --protect protected.txt -o r.csv --max-errors 100% --preflight always -q"
    with emulator() as service:
        command = ("run", "inactivate-device", "l.csv", *service.looking, *options.split())
        service.seed(pairs[:200], "0")
        service.seed(pairs[220:], "1")
        here(*command, "--limit-rows", "1", cwd=place).ended(75)
        service.tell("faults", shares=FAULTS, seed=2)
        here(*command, "--limit-rows", "350", "--attempts", "1", cwd=place).ended(75)
        service.tell("faults", shares={})
        done = [row for row in read_results(place / "r.csv") if row["outcome"] == "succeeded"]
        service.seed([(done[0]["DeviceSn"], done[0]["CaSn"])], "1")
        service.tell("delete", instance=INSTANCE, ca_sn=done[1]["CaSn"], device_sn=done[1]["DeviceSn"])
        here("verify", "r.csv", *UNHURRIED, "-q", cwd=place).ended(1)
    return place


@pytest.fixture(scope="module")
def rows(directory):
    return read_results(directory / "r.csv")


@pytest.fixture(scope="module")
def shown(directory):
    return json.loads(here("report", "r.csv", "--format", "json", cwd=directory).ended(0).stdout)


def test_outcomes(rows, shown):
    """Rows by outcome, of which there is every one, and by CA, the most rows first."""
    counts, by_ca = Counter(row["outcome"] for row in rows), defaultdict(Counter)
    for row in rows:
        by_ca[row["CaSn"]][row["outcome"]] += 1
    assert set(counts) == set(map(str, Outcome)) - {"undone"}
    assert shown["outcomes"] == counts
    assert shown["asked"]["rows"] == len(rows)
    assert {ca["ca_sn"]: (ca["rows"], ca["outcomes"]) for ca in shown["cas"]} == {
        ca: (outcomes.total(), outcomes) for ca, outcomes in by_ca.items()
    }
    assert [ca["rows"] for ca in shown["cas"]] == sorted((ca["rows"] for ca in shown["cas"]), reverse=True)
    assert shown["cas_in_all"] == len(by_ca)


def test_findings(rows, shown):
    """Rows by outcome and code, each with its first rows as samples, and with something to do."""
    wrong, done = defaultdict(list), ("succeeded", "unchanged")
    for row in rows:
        read = row["verified_status"] if row["outcome"] in (*done, "not_attempted") else ""
        other = read not in ("inactive", "")
        if other or (row["outcome"] not in (*done, "duplicate") and read != "inactive"):
            wrong[row["outcome"], row["code"], read if other else ""].append(row)
    found = {(each["outcome"], each["code"], each["read_back"]): each for each in shown["findings"]}
    assert {key: each["rows"] for key, each in found.items()} == {key: len(of) for key, of in wrong.items()}
    for key, of in wrong.items():
        names = ("row", "device_sn", "ca_sn", "request_id", "message")
        samples = [[str(sample[name]) for name in names] for sample in found[key]["samples"]]
        assert samples == [[row[name] for name in ("row", "DeviceSn", "CaSn", *names[3:])] for row in of]
        assert found[key]["advice"]
    assert ("succeeded", "", "active") in wrong


def test_calls(directory, rows, shown):
    """Calls a second: every last attempt is in its bin; what is not is named."""
    sent = [at(row["sent_at"]) for row in rows if row["sent_at"]]
    per_second = Counter(moment // 1000 for moment in sent)
    calls, summary = shown["calls"], summary_of(directory / "r.csv")
    assert calls["shown"] == len(sent) == sum(calls["over_time"]["worst"])
    assert calls["run"] == summary["calls"]
    assert shown["verified"]["calls"] == summary["verification"]["calls"]
    assert calls["not_shown"] == calls["run"] + shown["verified"]["calls"] - len(sent)
    assert (calls["at_least"], calls["run"]) == (False, sum(start["calls"] for start in shown["starts"][:2]))
    assert (calls["retries"], calls["throttles"]) == (summary["retries"], summary["throttles"])
    part = calls["over_time"]
    first = at(part["started"]) // 1000
    assert part["bin_s"] == 1
    assert part["worst"] == [per_second[first + number] for number in range(len(part["worst"]))]
    assert part["mean"] == part["worst"]


def test_latency(directory, rows, shown):
    """Quantiles are values that lie where they must."""
    latencies = sorted(float(row["latency_ms"]) for row in rows if row["latency_ms"])
    latency = shown["calls"]["latency_ms"]
    for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("longest", 1)):
        place = share * (len(latencies) - 1)
        assert latency[name] in (latencies[math.floor(place)], latencies[math.ceil(place)])
    assert latency == summary_of(directory / "r.csv")["latency_ms"]


def test_time_to_containment(directory, rows, shown):
    """First, half, 99 % of the list and last, from the beginning of the first session."""
    since = at(summary_of(directory / "r.csv")["sessions"][0]["started"])
    times = sorted(at(row["finished_at"]) for row in rows if row["outcome"] in ("succeeded", "unchanged"))
    certificates = sum(row["outcome"] != "duplicate" for row in rows)
    contained = shown["containment"]
    assert at(contained["since"]) == since
    assert (contained["certificates"], contained["reached"]) == (certificates, len(times))
    ranks = {"half": math.ceil(certificates / 2), "99 %": math.ceil(0.99 * certificates), "last": len(times)}
    assert {stone["name"]: stone["certificates"] for stone in contained["milestones"]} == {"first": 1, **ranks}
    for stone in contained["milestones"]:
        rank = stone["certificates"]
        assert stone["after_s"] == ((times[rank - 1] - since) / 1000 if rank <= len(times) else None)
    assert contained["steps"][-1] == [(times[-1] - since) / 1000, len(times)]


def test_what_was_read_back(directory, rows, shown):
    """Certificates by status, those not read by outcome, duplicates left out; the verdict goes by it."""
    own = [row for row in rows if row["outcome"] != "duplicate"]
    statuses = Counter(row["verified_status"] for row in own if row["verified_status"])
    assert shown["verified"]["statuses"] == statuses
    assert sum(shown["verified"]["unread_because"].values()) == sum(not row["verified_status"] for row in own)
    line = shown["verdict"]["line"]
    assert line.startswith(f"{statuses['inactive']:,} of {len(own):,} certificates are inactive; ")
    others = statuses.total() - statuses["inactive"]
    assert f"{others:,} are not: " in line
    assert shown["verdict"]["tone"] == "bad"


def test_what_was_asked(directory, shown):
    """Action, instance, list, hashes; each start with its figures, and the verification as one of them."""
    asked, summary = shown["asked"], summary_of(directory / "r.csv")
    assert (asked["action"], asked["instance"], asked["inputs"]) == ("inactivate-device", INSTANCE, ["l.csv"])
    hashed = [hashlib.sha256((directory / name).read_bytes()).hexdigest() for name in ("l.csv", "r.csv")]
    assert [asked["sha256"], shown["results"]["sha256"], shown["results"]["recorded"]] == [*hashed, hashed[1]]
    starts = shown["starts"]
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
def test_every_format_has_the_numbers(directory, rows, shown, format_):
    """What people read says the same: every count, hash, request id and advice."""
    output = directory / f"report.{format_}"
    here("report", "r.csv", "--format", format_, "-o", output, cwd=directory).ended(0)
    text = output.read_text()
    if format_ == "html":
        text = html.unescape(re.sub(r"<[^>]+>", " ", re.sub("</?code>", "", text.split("<main>")[1])))
    text = text.replace("\\", "").replace("`", "")
    assert all(re.search(rf"\b{rows:,}\b", text) for rows in shown["outcomes"].values())
    assert shown["verdict"]["line"] in text
    assert shown["asked"]["sha256"] in text
    assert shown["results"]["sha256"] in text
    for finding in shown["findings"]:
        assert finding["advice"].replace("`", "") in text
        assert all(sample["request_id"] in text and sample["device_sn"] in text for sample in finding["samples"])


def test_the_results_are_not_needed(directory, tmp_path, shown):
    """The store alone gives the same figures: beside results of another kind, and beside none."""
    shutil.copytree(directory / "r.csv.run", tmp_path / "r.csv.run")
    other = json.loads(here("report", "r.csv", "--format", "json", cwd=tmp_path).ended(0).stdout)
    for part in ("outcomes", "certificates", "cas", "calls", "containment", "verified", "starts"):
        assert other[part] == shown[part], part
    assert other["results"]["sha256"] is None

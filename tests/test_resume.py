"""Resuming a run, by its own command or by ``resume``: what binds, what is believed, and what has changed meanwhile."""

import errno
import os
import re
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
from place import OFF, Inside
from program import (
    INSTANCE,
    NO_KEY,
    UNHURRIED,
    bulkcert,
    here,
    outcomes,
    read_results,
    summary_of,
    write_list,
)
from stored import ask, change, kill, status

from bulkcert.input.pinned import Pinning
from bulkcert.service.regions import same_service
from bulkcert.store import queries
from bulkcert.store.read_states import BELIEVED_S

pytestmark = pytest.mark.usefixtures("inside")

BY_CA = "ListDeviceCertificateByCaSn"
LIST, RESULTS = Path("d.csv"), Path("r.csv")
STORE = Path("r.csv.run/store.sqlite")


class Place(Inside):
    """A run of which the results are looked at."""

    def column(self, name):
        return [row[name] for row in read_results(RESULTS)]

    def operations(self, since):
        return [call["operation"] for call in self.service.calls()[since:]]

    def refusing(self, code):
        return self.service.faulty(**{code: 1.0})


def kept():
    """Returns all that is kept of a run: what the store says, the files beside it, and the results."""
    tables = ("run", "certificate", "claim", "attempt", "(SELECT id, kind, ended_at FROM session)")
    told = [ask(RESULTS, lambda db, table=table: db.execute(f"SELECT * FROM {table}").fetchall()) for table in tables]
    return told, sorted(STORE.parent.iterdir()), RESULTS.read_bytes()


def make_preflight_old():
    change(RESULTS, "UPDATE session SET preflight_at = preflight_at - ?", BELIEVED_S * 1000 + 1)


@pytest.fixture
def place(service, tmp_path):
    return Place(service, tmp_path.name, 20)


# Where a run goes on.


def test_a_finished_run_calls_nothing(place):
    """It needs no credentials, leaves results, summary and sessions as they are, and ends as the run did."""
    place.service.seed(place.devices[:5], "0")
    write_list(LIST, [*place.devices, (f"{place.devices[0][0]}x", place.devices[0][1])])
    place.run().ended(1)
    before, since = (RESULTS.read_bytes(), summary_of(RESULTS)), place.arrivals
    again = ("run", "inactivate-device", LIST, *place.service.looking, "-o", RESULTS)
    for command in (again, ("resume", RESULTS, "--yes")):
        finished = bulkcert(*command, env=NO_KEY).ended(1)
        assert "calls         none" in finished.stdout
        assert "nothing to call: all 21 already finished" in finished.stderr

    assert place.arrivals == since
    assert (RESULTS.read_bytes(), summary_of(RESULTS)) == before
    assert len(status(RESULTS).sessions) == 1


def test_products_that_were_lost_are_made_again(place):
    """The store is the record: results and summary are written anew, without a call and without the list."""
    place.run().ended(0)
    before, since = RESULTS.read_bytes(), place.arrivals
    for path in (RESULTS, Path("r.csv.run/summary.json"), LIST):
        path.unlink()
    place.resume().ended(0)

    assert (RESULTS.read_bytes(), place.arrivals) == (before, since)
    assert summary_of(RESULTS)["outcomes"] == {"succeeded": 20}


def test_a_limit_and_on(place):
    """With --limit-rows each session calls the next few rows, until all are called; the list may be gone by then.

    So may the version of the program: an update in the middle of a run does not orphan its store.
    """
    place.run("--limit-rows", "8").ended(75)
    change(RESULTS, "UPDATE run SET asked = json_set(asked, '$.version', '0.0.1')")
    since = place.arrivals
    place.run("--limit-rows", "8").ended(75)
    assert place.calls(since) == [*range(9, 17)]
    LIST.unlink()
    since = place.arrivals
    told = place.resume().ended(0)

    assert (place.operations(since), place.calls(since)) == ([OFF] * 4, [*range(17, 21)])
    assert "16 already finished" in told.stderr
    assert ask(RESULTS, queries.asked).version == "0.0.1"
    assert place.states == ["0"] * 20


def test_a_run_that_was_killed_after_its_last_outcome(place):
    """It comes to its end, with results, by either command; nothing is called."""
    place.run().ended(0)
    since = place.arrivals
    for command in (place.run, place.resume):
        kill(RESULTS)
        RESULTS.write_text("")
        assert status(RESULTS).exit_status == 75
        command().ended(0)
        assert (status(RESULTS).state, outcomes(RESULTS)) == ("ended", {"succeeded": 20})

    assert place.arrivals == since


def test_a_watch_that_was_killed(place):
    """It goes on for the time that it has left; a verification that was no watch is over."""
    place.run().ended(0)
    here("verify", RESULTS, "--watch", "1s", "--every", "1s", "--yes", *UNHURRIED, "--attempts", "3").ended(0)
    kill(RESULTS)
    longer = "options = json_set(options, '$.watch', (? - started_at) / 1000.0 + 2)"
    change(RESULTS, f"UPDATE session SET {longer} WHERE id = 2", time.time() * 1000)
    assert "to resume the watch: bulkcert resume r.csv" in here("status", RESULTS).stdout
    place.service.seed(place.devices[:1], "1")
    place.resume().ended(0)
    assert [each.kind for each in status(RESULTS).sessions] == ["run", "verify", "verify"]
    assert status(RESULTS).sessions[-1].options["attempts"] == 3
    assert place.states == ["0"] * 20
    here("verify", RESULTS, *UNHURRIED).ended(0)
    kill(RESULTS)
    since = place.arrivals
    place.resume().ended(0)

    assert place.arrivals == since


def test_retry(place):
    """--retry takes up the rows that have the outcomes which it names, and no others, by either command."""
    few = ("--limit-rows", "3", "--attempts", "1", "--preflight", "never")
    for code in ("ParameterCheckFailed", "no-echo", "FindDeviceBySnError"):
        with place.refusing(code):
            place.run(*few).ended(75)
    place.resume().ended(1)
    assert outcomes(RESULTS) == {"failed": 3, "unknown": 3, "not_registered": 3, "succeeded": 11}
    for named, rows, ends in (
        ("failed,not_registered", [1, 2, 3, 7, 8, 9], 1),
        ("unknown", [4, 5, 6], 0),
        ("failed,unknown,not_registered,undone,drifted", [], 0),
    ):
        since = place.arrivals
        (place.resume if ends else place.run)("--retry", named).ended(ends)
        assert place.calls(since) == rows

    assert outcomes(RESULTS) == {"succeeded": 20}
    assert "drifted" in place.resume("--retry", "succeeded").ended(2).stderr


def test_retry_of_what_has_drifted(place):
    """What was read back in another state is called again, and nothing else; the run is not in order until then."""
    place.run().ended(0)
    place.service.seed(place.devices[4:6], "1")
    here("verify", RESULTS, *UNHURRIED).ended(1)
    assert (status(RESULTS).drifted, status(RESULTS).exit_status) == (2, 1)
    since = place.arrivals
    place.resume("--retry", "drifted").ended(0)

    assert place.calls(since) == [5, 6]
    assert status(RESULTS).exit_status == 0


# What binds.


def test_overwrite(place):
    """It drops what was done; it is needed where results exist whose store is gone, or has lost all that it held."""
    place.run().ended(0)
    for lose in (STORE.unlink, lambda: STORE.write_bytes(b"")):
        lose()
        since, before = place.arrivals, RESULTS.read_bytes()
        refused = place.run().ended(73)
        assert "--overwrite" in refused.stderr
        assert (place.arrivals, RESULTS.read_bytes()) == (since, before)
        place.run("--overwrite", "--preflight", "never").ended(0)
        assert place.calls(since) == [*range(1, 21)]
        assert len(status(RESULTS).sessions) == 1


@pytest.mark.parametrize("mode", ["auto", "never"])
@pytest.mark.parametrize(("code", "ends"), [("SignatureDoesNotMatch", 77), ("MqttInstanceNotFound", 78), ("", 69)])
def test_overwrite_by_a_start_that_is_refused(place, code, ends, mode):
    """Nothing is dropped before the service has answered: neither results nor what is known of the run."""
    place.run("--preflight", "never").ended(0)
    before, nowhere = kept(), ("--endpoint", "http://127.0.0.1:1", "--instance", INSTANCE, "--yes", "--attempts", "1")
    with place.refusing(code) if code else nullcontext():
        refused = place.run("--overwrite", "--preflight", mode, where=None if code else nowhere).ended(ends)

    assert "What is there is not overwritten." in " ".join(refused.stderr.split())
    assert kept() == before
    since = place.arrivals
    place.run("--overwrite", "--preflight", mode).ended(0)
    assert (place.calls(since), len(status(RESULTS).sessions)) == ([*range(1, 21)] * (mode == "never"), 1)


def test_a_list_that_cannot_be_removed(place, monkeypatch):
    """A copy of the list that is of no use any more, and that the disk does not let go, ends nothing."""

    def failing(path, unlink=Path.unlink, **how):
        if path.name.startswith("input-"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        unlink(path, **how)

    monkeypatch.setattr(Path, "unlink", failing)
    refused = place.run("--min-rows", "1000").ended(65)
    assert "at least 1,000 are expected" in refused.stderr
    place.run("--limit-rows", "5").ended(75)
    place.run().ended(0)


def test_a_list_that_cannot_be_read_again(place, monkeypatch):
    """What the disk refuses while the copy of the list is read is named with its place (66), whoever reads it."""
    finish = Pinning.finish

    def finished(pinning):
        finish(pinning)
        pinning._path.unlink()

    monkeypatch.setattr(Pinning, "finish", finished)
    refused = place.run().ended(66)
    assert re.search(r"error: r\.csv\.run/input-\w+\.parquet: no such file\n  → Check the path", refused.stderr)


@pytest.mark.parametrize(
    ("change_it", "told"),
    [
        ("list", "differs in the list: new certificates: 2, gone: 1, the same: 19"),
        ("order", "differs in the list: the same certificates, in another order or number"),
        ("action", "differs in the action (inactivate-device there, activate-device now)"),
        ("instance", f"differs in the instance ({INSTANCE} there, post-cn-other now)"),
        ("endpoint", "differs in the endpoint"),
    ],
)
def test_another_run_is_refused(place, change_it, told):
    """65, with what differs and the two ways on; nothing is called, nothing is written."""
    place.run("--limit-rows", "5").ended(75)
    before, since = kept(), place.arrivals
    device, ca = place.devices[0]
    if change_it in ("list", "order"):
        changed = [*place.devices[1:], (f"{device}x", ca), (f"{device}y", ca)]
        write_list(LIST, changed if change_it == "list" else place.devices[::-1])
    others = {"instance": ("--instance", "post-cn-other"), "endpoint": ("--endpoint", "http://127.0.0.1:9")}
    where = ["--endpoint", place.service.url, "--instance", INSTANCE, "--yes"]
    if change_it in others:
        name, value = others[change_it]
        where[where.index(name) + 1] = value
    action = "activate-device" if change_it == "action" else "inactivate-device"
    refused = place.run(action=action, where=where).ended(65).stderr

    assert f"r.csv is of another run; it {told}" in " ".join(refused.split())
    ways = "finishes it with its own list, if rows are left; for this one name other results with -o"
    ways = "Leave out what names another service" if change_it in others else f"bulkcert resume r.csv {ways}"
    assert ways in refused
    assert place.arrivals == since
    assert kept() == before


def test_both_hosts_of_a_region_are_one_service():
    """A run that began at the public endpoint is resumed inside the VPC, and nowhere else."""
    public, vpc = "https://onsmqtt.cn-hangzhou.aliyuncs.com", "https://onsmqtt-vpc.cn-hangzhou.aliyuncs.com"
    assert same_service(public, vpc)
    assert same_service(vpc, vpc)
    assert not same_service(public, vpc.replace("hangzhou", "beijing"))


def test_nothing_is_written_before_a_session_begins(place):
    """Who thinks better of it leaves everything as it was; of a run that nobody has begun nothing is left."""
    command = ("run", "inactivate-device", LIST, "-o", RESULTS, *place.service.where)
    bulkcert(*command, env=NO_KEY).ended(77)
    assert sorted(path.name for path in Path().iterdir()) == ["d.csv"]
    place.run("--limit-rows", "5").ended(75)
    before = kept()
    bulkcert(*command, "--overwrite", env=NO_KEY).ended(77)

    assert kept() == before


def test_a_session_that_was_killed_before_its_first_outcome_binds(place):
    """Calls may have been made: another action on the same results is refused, and what was seen before is kept."""
    place.run().ended(0)
    kill(RESULTS)
    change(RESULTS, "UPDATE certificate SET newest = NULL, changed = 0, attempts = 0")
    change(RESULTS, "INSERT INTO claim (row, session) VALUES (1, 1)")
    before = kept()
    refused = place.run(action="activate-device").ended(65)

    assert "is of another run" in refused.stderr
    assert kept() == before


def test_sessions_that_called_nothing_bind_nobody(place):
    """A run that was refused as a whole has changed nothing, looked or not: another may have its place."""
    with place.refusing("Forbidden.RAM"):
        place.run("--max-in-flight", "1").ended(77)
    assert ask(RESULTS, queries.preflight_at)
    other = place.run(action="activate-device").ended(0)

    assert "in place of those of another run, which has changed nothing" in other.stderr
    assert "another run" not in place.run(action="activate-device").ended(0).stderr
    assert ask(RESULTS, queries.asked).action == "activate-device"
    assert len(list(STORE.parent.glob("input-*"))) == 1


# Options that have changed meanwhile.


def test_a_row_that_was_called_keeps_its_outcome_though_it_is_protected_now(place):
    """--protect added on the way: what was called says so and is undone; the rest is protected; the run ends."""
    place.run("--limit-rows", "5").ended(75)
    write_list("p.csv", place.devices[3:8])
    finished = place.run("--protect", "p.csv", "--skip-protected").ended(1)

    assert "7 by earlier" not in finished.stderr
    assert place.column("outcome") == ["succeeded"] * 5 + ["protected"] * 3 + ["succeeded"] * 12
    assert "is protected by" not in "".join(place.column("message")[:5])
    assert "12 device certificates" in finished.stderr
    again = place.run("--protect", "p.csv", "--skip-protected").ended(1)
    assert "nothing to call" in again.stderr
    place.undo().ended(0)
    assert place.states == ["1"] * 20


def test_a_row_that_is_to_be_taken_up_again_but_is_protected_now(place):
    """A row that no call may have changed is protected, whatever came of it; the run is finished (1)."""
    with place.refusing("Forbidden.RAM"):
        place.run("--limit-rows", "3", "--max-in-flight", "1").ended(77)
    assert set(place.column("code")) == {"", "Forbidden.RAM"}
    write_list("p.csv", place.devices[:2])
    place.run("--protect", "p.csv", "--skip-protected").ended(1)

    assert place.column("outcome") == ["protected"] * 2 + ["succeeded"] * 18
    assert place.column("code") == [""] * 20


# What was read before the first call.


@pytest.fixture
def canary(service, tmp_path):
    """A run of 300 rows of which three were active, stopped after the first; then ten others were switched on."""
    place = Place(service, tmp_path.name, 300)
    service.seed(place.devices[3:], "0")
    place.run("--limit-rows", "1").ended(75)
    service.seed(place.devices[100:110], "1")
    return place


def test_a_young_preflight_is_believed(canary):
    """Within a quarter of an hour nothing is read again."""
    since = canary.arrivals
    canary.run().ended(0)

    assert (canary.operations(since), canary.calls(since)) == ([OFF] * 2, [2, 3])


def test_an_old_preflight_is_made_again(canary):
    """What was left alone and is not in the desired state any more is called; 0 means that all are so now."""
    make_preflight_old()
    since = canary.arrivals
    finished = canary.run().ended(0)

    assert canary.operations(since).count(BY_CA) == 3
    assert canary.calls(since) == [2, 3, *range(101, 111)]
    assert "299 device certificates at most: what is inactive already gets no call" in finished.stderr
    assert canary.states == ["0"] * 300
    assert outcomes(RESULTS) == {"succeeded": 13, "unchanged": 287}
    seen = ["active"] * 3 + ["inactive"] * 97 + ["active"] * 10 + ["inactive"] * 190
    assert canary.column("prior_status") == seen
    since = canary.arrivals
    make_preflight_old()
    canary.run().ended(0)
    assert canary.arrivals == since, "a finished run is finished"
    canary.undo().ended(0)
    assert canary.states == [{"active": "1", "inactive": "0"}[one] for one in seen]


def test_an_old_preflight_that_cannot_be_made_again(canary):
    """Without permission to list, what was left alone is called like any row; what it was before is not known."""
    make_preflight_old()
    with canary.refusing("NoPermission"):
        canary.run("--max-in-flight", "1").ended(77)
    canary.run("--preflight", "never").ended(0)

    assert outcomes(RESULTS) == {"succeeded": 300}
    assert canary.column("prior_status") == ["active"] * 3 + [""] * 297


@pytest.mark.parametrize("kept", [0, 105, 110])
def test_killed_in_a_later_preflight(canary, kept):
    """What it has opened stays open, what is left is read again: no row is left out, however far it had come."""
    make_preflight_old()
    columns = "kind, options, pid, host, user, version, access_key_id, credentials, started_at"
    change(RESULTS, f"INSERT INTO session ({columns}) SELECT {columns} FROM session")
    opened = "newest = NULL, before = 'active'"
    change(RESULTS, f"UPDATE certificate SET {opened} WHERE row BETWEEN 101 AND ?", kept)
    canary.resume().ended(0)

    assert canary.states == ["0"] * 300
    assert canary.column("prior_status")[100:110] == ["active"] * 10
    assert outcomes(RESULTS) == {"succeeded": 13, "unchanged": 287}

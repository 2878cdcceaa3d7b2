"""The engine against a scripted service: what every answer, and every silence, does to a row and to the run."""

import sqlite3
from collections import Counter
from dataclasses import dataclass
from types import SimpleNamespace

import anyio
import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stored import ASKED, CALLER, killed

from bulkcert.engine import lanes as lanes_module
from bulkcert.engine.calling import BUFFERED_ROWS, CLAIMED_ROWS, Engine, committing, each_row
from bulkcert.engine.failures import IN_A_ROW
from bulkcert.engine.lanes import Lanes
from bulkcert.engine.pacer import Pacer
from bulkcert.engine.progress import MOST_CODES, OTHER_CODES, Progress
from bulkcert.engine.target import Limit, Target
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.service.actions import ACTIONS
from bulkcert.service.client import Client
from bulkcert.service.codes import RULES, Verdict
from bulkcert.service.credentials import FixedCredentials
from bulkcert.service.signing import Credentials
from bulkcert.service.transport import NotSent
from bulkcert.store import queries
from bulkcert.store import store as store_module
from bulkcert.store.database import reading
from bulkcert.store.outcome import Outcome, Record, Row
from bulkcert.store.store import Store

DELETE = {"action": "delete-ca"}
OLD, NEW, NEWER = (Credentials(f"key{number}", f"secret{number}", f"token{number}") for number in range(3))
LOST, UNREACHED = httpx.ReadError("reset by peer"), NotSent("s:1", TimeoutError())
DONE, NO_ECHO = "done", "no echo"
ON, OFF = "1", "0"
NOT_FOUND, REFUSED, THROTTLED = "FindDeviceBySnError", "ParameterCheckFailed", "Throttling.User"
BUSY, NONCE, EXPIRED, DENIED = "InternalError", "SignatureNonceUsed", "InvalidSecurityToken.Expired", "NoPermission"
GONE = {**DELETE, "reads": lambda _: NOT_FOUND}
UNHEARD_OF = httpx.Response(200, json={"RequestId": "R", "Data": {"Sn": "1", "Status": "7"}})
"""A certificate that is there, in a state that no table has."""


class Service(httpx.AsyncBaseTransport):
    """Answers each call as ``script(row, attempt, request)`` says: DONE, NO_ECHO, a code, or an error of transport.

    What is about no row is row 0. A certificate that is read is in the state ``reads(row)``, or that says what else.
    """

    def __init__(self, script, reads):
        self.script, self.reads, self.requests = script, reads, []
        self.attempts, self.changes = Counter(), Counter()

    async def handle_async_request(self, request):
        await anyio.lowlevel.checkpoint()
        parameters = httpx.QueryParams(request.extensions["target"].partition(b"?")[2])
        serial = parameters.get("DeviceSn") or parameters.get("Sn", "0")
        self.requests.append(request)
        self.attempts[int(serial)] += 1
        if request.method == "GET" and serial != "0":
            said = self.reads(int(serial))
        else:
            self.changes[int(serial)] += 1
            said = self.script(int(serial), self.changes[int(serial)], request)
        if isinstance(said, Exception):
            raise said
        if isinstance(said, httpx.Response):
            return httpx.Response(said.status_code, headers=said.headers, content=said.content)
        if said == DONE:
            field = "DeviceSn" if "DeviceSn" in parameters else "Sn"
            if serial == "0":
                return httpx.Response(200, json={"RequestId": "R", "Data": {}})
            return httpx.Response(200, json={"RequestId": "R", field: serial})
        if said in (ON, OFF):
            return httpx.Response(200, json={"RequestId": "R", "Data": {**parameters, "Status": said}})
        said = {"RequestId": "R"} if said == NO_ECHO else {"RequestId": "R", "Code": said, "Message": "m"}
        return httpx.Response(200 if len(said) == 1 else 500, json=said)


class Renewing:
    """A provider that hands out one set of credentials after another."""

    def __init__(self, *successive):
        self.current, *self._left = successive
        self.renewals = 0
        self._one_at_a_time = anyio.Lock()

    async def renew(self, stale=None):
        async with self._one_at_a_time:
            if stale in (None, self.current):
                self.renewals += 1
                self.current = self._left.pop(0) if self._left else self.current


@dataclass
class Ran:
    """What one session did; ``records`` is what is known of every row after it."""

    progress: Progress
    records: dict[int, Record]
    service: Service
    stopped: ExitStatus | None

    @property
    def outcomes(self):
        return {row: record.outcome for row, record in self.records.items() if not record.again}


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(lanes_module, "backoff_s", lambda *_, **__: 0.0)
    monkeypatch.setattr(lanes_module, "PAUSE_S", 0.0)


def opened(directory, rows, action="inactivate-device", *, reopen=(), kind="run"):
    """Returns the store of the run in a directory, with a session that has begun."""
    store = Store(directory / "s")
    if store.is_new:
        store.describe(msgspec.structs.replace(ASKED, action=action, rows=rows))
    for outcome in reopen:
        store.reopen("newest = ?", (outcome.value,))
    store.begin(kind, "{}", **CALLER)
    return store


def to_call(store, rows):
    """Returns the rows that a session calls."""
    earlier, alone = queries.earlier(store.db, 1, rows), queries.rows(store.db, queries.LEFT_ALONE, 1, rows)
    numbers = [number for number in range(1, rows + 1) if number not in alone]
    return [Row(number, f"{number}", f"{number}", *earlier.get(number, (None, False))) for number in numbers]


def records_of(store, rows):
    """Returns what is known of each row that was called."""
    names = "row, newest, COALESCE(code, ''), COALESCE(message, ''), attempts, again, changed"
    found = store.db.execute(f"SELECT {names} FROM certificate WHERE newest IS NOT NULL AND row <= {rows}")
    return {
        row: Record(row, Outcome(newest), code, message, attempts=attempts, again=bool(again), changed=bool(changed))
        for row, newest, code, message, attempts, again, changed in found
    }


async def run(directory, rows, script, *, action="inactivate-device", provider=None, reopen=(), batches=None, **order):
    service, progress = Service(script, order.pop("reads", lambda _: ON)), Progress()
    store = opened(directory, rows, action, reopen=reopen)
    target = Target(
        instance="post-cn-1",
        endpoint=(endpoint := httpx.URL("http://127.0.0.1")),
        addresses=(None,),
        account_cap=order.pop("lane_cap", 100_000),
        address_cap=200_000,
        workers=order.pop("workers", 4),
        attempts=order.pop("attempts", 3),
        timeout_s=60,
    )
    client = Client(service, endpoint, provider := provider or FixedCredentials(OLD), timeout_s=60)
    batch = to_call(store, rows)
    lanes = Lanes([client], provider, progress, target)
    engine = Engine(ACTIONS[action], lanes, store, **{"max_errors": Limit()} | order)
    with anyio.fail_after(60):
        async with committing(store, lanes):
            await engine.run(batches or iter([batch[: rows // 2], batch[rows // 2 :]]))
    store.end(0)
    records = records_of(store, rows)
    store.close()
    return Ran(progress, records, service, progress.stop and progress.stop.status)


def target_of(request):
    return request.extensions["target"] + b"&"


async def test_each_attempt_is_signed_and_paced_anew(tmp_path, monkeypatch):
    """A retry has a nonce and a signature of its own, and takes its turn like any call."""
    turns, acquire = [], Pacer.acquire

    async def counted(pacer, **more):
        turns.append(pacer)
        return await acquire(pacer, **more)

    monkeypatch.setattr(Pacer, "acquire", counted)
    ran = await run(tmp_path, 1, lambda _row, attempt, _: BUSY if attempt < 3 else DONE)

    assert ran.outcomes == {1: Outcome.SUCCEEDED}
    for header in ("x-acs-signature-nonce", "authorization"):
        assert len({request.headers[header] for request in ran.service.requests}) == 3
    assert len(turns) == ran.progress.sends.sends == ran.records[1].attempts == 3


async def test_job_wide_refusal_stops_the_run(tmp_path):
    """A refusal that every row would get ends the run within the calls in flight; the rest is left for the next."""
    ran = await run(tmp_path, 100, lambda row, *_: DENIED if row == 10 else DONE)

    assert ran.stopped is ExitStatus.DENIED
    assert len(ran.service.requests) <= 10 + 4
    assert 10 not in ran.outcomes
    assert set(ran.outcomes.values()) == {Outcome.SUCCEEDED}


async def test_what_is_uncertain_is_read_before_others_are_called(tmp_path):
    """Else a row in error would count only after all that wait, and too many errors be noticed as much later."""
    ran = await run(
        tmp_path,
        40,
        lambda row, attempt, _: DONE if row > 1 else LOST if attempt == 1 else REFUSED,
        workers=12,
        attempts=2,
        lane_cap=150,
    )
    of_first = [number for number, each in enumerate(ran.service.requests) if b"DeviceSn=1&" in target_of(each)]

    assert [ran.service.requests[number].method for number in of_first] == ["POST", "POST", "GET"]
    assert ran.outcomes[1] is Outcome.FAILED
    _, refused, read = of_first
    assert read - refused <= 2


@pytest.mark.parametrize("rows", [1, 100])
@pytest.mark.parametrize(("silence", "shown"), [(LOST, Outcome.UNKNOWN), (UNREACHED, Outcome.NOT_ATTEMPTED)])
async def test_service_that_never_answers_burns_no_row(tmp_path, rows, silence, shown):
    """A few calls without any answer ever stop the run; all rows are taken up again by the next."""
    ran = await run(tmp_path, rows, lambda *_: silence)

    assert ran.stopped is ExitStatus.UNAVAILABLE
    assert len(ran.service.requests) <= IN_A_ROW + 4
    assert ran.outcomes == {}
    assert {record.outcome for record in ran.records.values()} == {shown}


async def test_attempts_during_an_outage_are_not_charged(tmp_path):
    """When a service that has answered falls silent for a while, no row pays for it with its attempts."""
    calls = Counter()

    def script(row, *_):
        calls["all"] += 1
        return LOST if row not in range(1, 5) and calls["all"] < 60 else DONE

    ran = await run(tmp_path, 20, script, attempts=4)

    assert (ran.stopped, set(ran.outcomes.values()), len(ran.outcomes)) == (None, {Outcome.SUCCEEDED}, 20)
    assert max(ran.service.attempts.values()) > 4


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        ([LOST, LOST, LOST], Outcome.UNKNOWN),
        ([UNREACHED, UNREACHED, UNREACHED], Outcome.FAILED),
        ([BUSY, NONCE, UNREACHED], Outcome.UNKNOWN),
    ],
)
async def test_attempts_used_up(tmp_path, said, outcome):
    """What may have been done is unknown, never a success; what was never sent, or refused to the end, has failed."""
    ran = await run(tmp_path, 2, lambda row, attempt, _: DONE if row == 1 else said[attempt - 1])

    assert (ran.stopped, ran.outcomes) == (None, {1: Outcome.SUCCEEDED, 2: outcome})
    assert ran.service.attempts == {1: 1, 2: 3}


@pytest.mark.parametrize(
    "said",
    [
        [NO_ECHO, NO_ECHO, NO_ECHO],
        [LOST, UNREACHED, BUSY],
        [BUSY, BUSY, BUSY],
        [BUSY, NOT_FOUND],
        [NONCE, NOT_FOUND],
        [LOST, REFUSED],
    ],
    ids=str,
)
@pytest.mark.parametrize(
    ("read", "outcome"),
    [
        (OFF, Outcome.SUCCEEDED),
        (ON, Outcome.FAILED),
        (NOT_FOUND, Outcome.NOT_REGISTERED),
        ("2", Outcome.UNKNOWN),
        (DENIED, Outcome.UNKNOWN),
        (LOST, Outcome.UNKNOWN),
    ],
)
async def test_contradictions_are_read_back(tmp_path, said, read, outcome):
    """An attempt that may have been carried out and is said not to be: what is read decides, and undo asks about it."""

    def script(row, attempt, _):
        return said[attempt - 1] if row == 2 else DONE

    ran = await run(tmp_path, 2, script, reads=lambda _: read)

    assert (ran.stopped, ran.outcomes) == (None, {1: Outcome.SUCCEEDED, 2: outcome})
    assert ran.records[2].changed
    assert ran.records[2].attempts == ran.service.attempts[2] == len(said) + (3 if read is LOST else 1)


CODES = [rule.code for rule in RULES if rule.verdict in (Verdict.RETRY, Verdict.SIGN_AGAIN) and "*" not in rule.code]
DOUBTFUL = {
    **{code: code for code in CODES},
    "lost": LOST,
    "late": httpx.ReadTimeout("late"),
    "no HTTP": httpx.RemoteProtocolError("rubbish"),
    "no echo": NO_ECHO,
    "the echo of another": httpx.Response(200, json={"RequestId": "R", "Sn": "another"}),
    "echo and code": httpx.Response(200, json={"RequestId": "R", "Sn": "1", "Code": "ParameterCheckFailed"}),
    "error without code": httpx.Response(500, json={"RequestId": "R"}),
    "success of a gateway": httpx.Response(200, text="<html>"),
    "error of a gateway": httpx.Response(502, text="<html>"),
    "throttled by a gateway": httpx.Response(429, text="<html>"),
}
"""Answers and silences after which a change may have been made."""


@pytest.mark.parametrize("first", DOUBTFUL.values(), ids=DOUBTFUL)
@pytest.mark.parametrize(
    "last", ["not found", "not found, not read", "not found, not to be read", "used up", "in a later session"]
)
async def test_a_deletion_that_may_have_been_carried_out(tmp_path, first, last):
    """What is not there after any such attempt was deleted by it; what was not there before none was never there."""
    said = [first, NOT_FOUND if last.startswith("not found") else BUSY, *[BUSY] * 3]
    attempts = 1 if last == "in a later session" else 3
    reads = {"not found": NOT_FOUND, "used up": NOT_FOUND, "not found, not to be read": DENIED}
    order = {**DELETE, "reads": lambda _: reads.get(last, LOST)}

    def script(row, attempt, _):
        return said[attempt - 1] if row == 1 else NOT_FOUND

    ran = await run(tmp_path, 2, script, attempts=attempts, **order)
    if last == "in a later session":
        assert Outcome.SUCCEEDED not in ran.outcomes.values()
        ran = await run(tmp_path, 2, lambda *_: NOT_FOUND, reopen={Outcome.UNKNOWN}, **GONE)

    assert ran.outcomes == {1: Outcome.SUCCEEDED, 2: Outcome.NOT_REGISTERED}
    assert [ran.records[row].changed for row in (1, 2)] == [True, False]


@pytest.mark.parametrize("last", [DENIED, UNREACHED])
async def test_what_a_stop_leaves_in_doubt_says_so(tmp_path, last):
    """A message about the last attempt alone would say that nothing was sent, or done."""
    ran = await run(tmp_path, 1, lambda _, attempt, __: [LOST, last, DENIED][attempt - 1])

    assert ran.records[1].outcome is Outcome.UNKNOWN
    assert ran.records[1].message.endswith("(an attempt may have been carried out)")


@pytest.mark.parametrize("last", [BUSY, NOT_FOUND])
@pytest.mark.parametrize("read", [ON, OFF, UNHEARD_OF])
async def test_a_deletion_that_was_not_carried_out_yet(tmp_path, last, read):
    """What is there after attempts that may have been carried out may still be deleted by them, whatever was said."""
    said = [BUSY, *[last] * 3]
    ran = await run(tmp_path, 1, lambda _, attempt, __: said[attempt - 1], reads=lambda _: read, **DELETE)

    assert ran.outcomes == {1: Outcome.UNKNOWN}


@pytest.mark.parametrize("workers", [1, 4])
async def test_rows_that_are_never_answered_end(tmp_path, workers):
    """They are charged, since something else is answered: they end unknown, the others are called, and no more calls.

    So it is where nothing but such rows is left, in a session that has had no other answer.
    """
    lost = {1, 2}

    def script(row, *_):
        return LOST if row in lost else DONE

    ran = await run(tmp_path, 20, script, workers=workers, attempts=12, reads=lambda _: LOST)
    assert (ran.stopped, ran.progress.outage.count) == (None, 0)
    assert {row for row, outcome in ran.outcomes.items() if outcome is Outcome.UNKNOWN} == lost
    assert Counter(ran.outcomes.values())[Outcome.SUCCEEDED] == 18

    again = await run(tmp_path, 20, script, workers=workers, attempts=12)
    assert (again.stopped, again.service.requests) == (None, [])
    again = await run(tmp_path, 20, script, workers=workers, attempts=12, reopen={Outcome.UNKNOWN})
    assert (again.stopped, set(again.service.attempts)) == (None, lost | {0})


async def test_codes_without_end_are_counted_together(tmp_path):
    """Whoever answers may think of a code a call: so many have names of their own, and all are counted."""
    ran = await run(tmp_path, 300, lambda row, *_: f"Made.Up{row}")

    assert len(ran.progress.codes) == len(ran.progress.errors) == MOST_CODES + 1
    assert (ran.progress.codes[OTHER_CODES], ran.progress.codes.total()) == (100, 300)
    assert len({record.code for record in ran.records.values()}) == 300


async def test_throttles_are_not_charged(tmp_path):
    """Being told to slow down costs no attempt, however often."""
    ran = await run(tmp_path, 1, lambda _row, attempt, _: THROTTLED if attempt < 20 else DONE, attempts=1)

    assert (ran.outcomes, ran.progress.throttles) == ({1: Outcome.SUCCEEDED}, 19)


def expired(*refused):
    """A service that takes these credentials for expired."""
    ids = [credentials.access_key_id for credentials in refused]
    return lambda *call: EXPIRED if any(name in call[2].headers["authorization"] for name in ids) else DONE


async def test_expired_credentials_are_renewed_once(tmp_path):
    """All calls in flight share one renewal, and no row pays for it."""
    provider = Renewing(OLD, NEW, NEWER)
    ran = await run(tmp_path, 40, expired(OLD), provider=provider, workers=8, attempts=1)

    assert (ran.stopped, list(ran.outcomes.values())) == (None, [Outcome.SUCCEEDED] * 40)
    assert provider.renewals == 1


@pytest.mark.parametrize("successive", [(OLD,), (OLD, NEW, NEWER)])
async def test_credentials_that_stay_expired_stop_the_run(tmp_path, successive):
    """Whether a renewal brings the same credentials or others that are refused too, going on is senseless."""
    ran = await run(tmp_path, 40, expired(OLD, NEW, NEWER), provider=Renewing(*successive), attempts=1)

    assert (ran.stopped, ran.outcomes) == (ExitStatus.DENIED, {})
    assert len(ran.service.requests) <= 12


@pytest.mark.parametrize(("limit", "called"), [(Limit(rows=5), 6 + 4), (Limit(share=0.05), 100 + 4)])
async def test_too_many_errors_stop_the_run(tmp_path, limit, called):
    """More failed rows than allowed stop the run; a share counts only from a hundred rows on."""
    ran = await run(tmp_path, 400, lambda *_: REFUSED, max_errors=limit)

    assert ran.stopped is ExitStatus.TOO_MANY_ERRORS
    assert called - 4 <= len(ran.service.requests) <= called


async def test_unregistered_rows_are_no_errors_of_the_run(tmp_path):
    """A list full of unknown certificates is a finding, not a reason to stop."""
    ran = await run(tmp_path, 200, lambda *_: NOT_FOUND, max_errors=Limit(rows=0))

    assert (ran.stopped, Counter(ran.outcomes.values())) == (None, {Outcome.NOT_REGISTERED: 200})


async def test_store_that_fails_stops_the_run(tmp_path, monkeypatch):
    """When nothing can be written any more the run stops; what was synced is not called again, everything else is."""
    keep, groups = Store.keep, []

    def full(store, group):
        groups.append(group)
        if len(groups) > 2:
            raise no_space()
        keep(store, group)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "keep", full)
        patch.setattr(store_module, "SYNC_AFTER_S", 0.001)
        first = await run(tmp_path, 1000, lambda *_: DONE)
    second = await run(tmp_path, 1000, lambda *_: DONE)

    assert first.stopped is ExitStatus.CANNOT_WRITE
    assert first.progress.stop.message == f"cannot write {tmp_path / 's'}: no space left on the disk"
    synced = {record.row for group in groups[:2] for record in group}
    assert synced == set(first.records) < set(first.service.attempts)
    assert sorted([*synced, *second.service.attempts]) == [*range(1, 1001)]


def no_space():
    error = sqlite3.OperationalError("full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    return error


async def test_rows_are_claimed_before_they_are_called(tmp_path, monkeypatch):
    """What may be called is on disk before, and little more: so few rows a killed session leaves in doubt.

    Where even that cannot be written, nothing is called.
    """
    most = CLAIMED_ROWS + BUFFERED_ROWS + 4

    def script(row, *_):
        if row % 20:
            return DONE
        with reading(tmp_path / "s") as db:
            claimed = {row for (row,) in db.execute("SELECT row FROM claim")}
            assert row in claimed
            assert len([one for one in claimed if one > row]) <= most
        return DONE

    ran = await run(tmp_path, 1000, script)
    assert len(ran.outcomes) == 1000
    with reading(tmp_path / "s") as db:
        assert queries.in_doubt(db) == 0

    def full(store, rows):
        raise no_space()

    monkeypatch.setattr(Store, "claim", full)
    (tmp_path / "other").mkdir()
    ran = await run(tmp_path / "other", 10, lambda *_: DONE)
    assert (ran.stopped, ran.service.requests) == (ExitStatus.CANNOT_WRITE, [])


async def test_a_row_wakes_one_worker():
    """Rows that come one by one are done by the worker that has nothing to do; there may be thousands of them."""
    lanes = SimpleNamespace(stopping=anyio.Event(), lanes=[None], service=SimpleNamespace(workers=1000))
    workers = Counter()

    async def work(_, row):
        workers[anyio.get_current_task().id] += 1

    await each_row(lanes, iter([[Row(number, "", "")] for number in range(50)]), work)
    assert [*workers.values()] == [50]


async def test_input_that_changes_meanwhile_stops_the_run_in_order(tmp_path):
    """An input that fails under way ends the run as a refusal does: what was called is written down."""

    def batches():
        yield [Row(number, f"{number}", "1") for number in range(1, 5)]
        raise BulkcertError(ExitStatus.INPUT_INVALID, "the file was changed")

    ran = await run(tmp_path, 10, lambda *_: DONE, batches=batches())

    assert ran.stopped is ExitStatus.INPUT_INVALID
    assert sorted(ran.outcomes) == sorted(ran.service.attempts)


async def test_deletion_is_announced_on_disk(tmp_path):
    """When a CA is called the intent is on disk; where a stop or a kill prevents the call, it is not."""
    intents = "SELECT row FROM claim WHERE sent"

    def script(row, *_):
        with reading(tmp_path / "s") as db:
            assert (row,) in db.execute(intents).fetchall()
        return DENIED if row == 5 else DONE

    ran = await run(tmp_path, 50, script, workers=16, **DELETE)

    assert ran.stopped is ExitStatus.DENIED
    with reading(tmp_path / "s") as db:
        assert len(db.execute(intents).fetchall()) <= 1


@pytest.mark.parametrize("between", [DENIED, BUSY, LOST, "nothing"])
async def test_lost_deletion_is_remembered(tmp_path, between):
    """What a killed session may have deleted counts as deleted by it, even if sessions in between came to nothing."""
    store = opened(tmp_path, 1, "delete-ca")
    store.claim([1])
    store.keep([1])
    killed(store)
    if between != "nothing":
        await run(tmp_path, 1, lambda *_: between, attempts=1, **DELETE)
    ran = await run(tmp_path, 1, lambda *_: NOT_FOUND, reopen={Outcome.UNKNOWN}, **GONE)

    assert ran.outcomes == {1: Outcome.SUCCEEDED}


ANSWERS = [DONE, NO_ECHO, NOT_FOUND, REFUSED, THROTTLED, BUSY, NONCE, EXPIRED, DENIED, LOST, UNREACHED, "SomethingNew"]
scripts = st.lists(st.lists(st.sampled_from(ANSWERS), max_size=6), min_size=1, max_size=12)
UNCERTAIN = {LOST, NO_ECHO, BUSY, NONCE}


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    script=scripts,
    action=st.sampled_from(["inactivate-device", "delete-ca"]),
    keys=st.integers(1, 3),
    read=st.sampled_from([ON, OFF, NOT_FOUND, LOST, DENIED]),
)
def test_rows_add_up_whatever_is_answered(tmp_path_factory, script, action, keys, read):
    """Any script: every row gets one outcome, successes were seen to succeed, nothing known done is repeated."""
    directory, rows = tmp_path_factory.mktemp("any"), len(script)

    def scripted(row, attempt, _=None):
        return [*script[row - 1], *[DONE] * attempt][attempt - 1]

    def session(answers, provider=None):
        reads = lambda _: read  # noqa: E731
        return anyio.run(lambda: run(directory, rows, answers, action=action, provider=provider, reads=reads))

    first = session(scripted, Renewing(*(OLD, NEW, NEWER)[:keys]))
    assert first.progress.outcomes.total() == len(first.records)
    assert {row: record.attempts for row, record in first.records.items()} == first.service.attempts - Counter([0] * 99)
    reached = NOT_FOUND if action == "delete-ca" else OFF
    for row, outcome in first.outcomes.items():
        said = [scripted(row, attempt) for attempt in range(1, first.service.changes[row] + 1)]
        was_read = first.service.attempts[row] > first.service.changes[row]
        may_be_done = UNCERTAIN & {*said}
        is_read = may_be_done and was_read and read == reached
        is_gone = may_be_done and (action, said[-1]) == ("delete-ca", NOT_FOUND) and read not in (ON, OFF)
        assert (outcome is Outcome.SUCCEEDED) == bool(said[-1] == DONE or is_read or is_gone)
        assert first.records[row].changed or not may_be_done
    assert first.stopped or len(first.outcomes) == rows

    second = session(lambda *_: DONE)
    assert not set(first.outcomes) & set(second.service.attempts)
    assert len(second.outcomes) == rows

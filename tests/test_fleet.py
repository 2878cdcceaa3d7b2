"""Coordinator and lanes without a network between them: calls, shares, and what happens when a lane does not behave."""

import asyncio

import anyio
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkcert import __version__
from bulkcert.engine.calling import Engine
from bulkcert.engine.limits import Limit, Target
from bulkcert.engine.progress import Progress, Stop
from bulkcert.errors import ExitStatus
from bulkcert.fleet import coordinator
from bulkcert.fleet.coordinator import FleetLanes
from bulkcert.fleet.lane import LaneAddress, Participant
from bulkcert.fleet.lease import clock
from bulkcert.fleet.member import Member
from bulkcert.fleet.messages import Hello, LaneReport, decode_grant, decode_report, encode
from bulkcert.fleet.shares import Shares
from bulkcert.service.actions import ACTIONS
from bulkcert.service.client import Response
from bulkcert.service.codes import Verdict
from bulkcert.service.credentials import FixedCredentials
from bulkcert.service.operations import OPERATIONS
from bulkcert.service.signing import Credentials
from bulkcert.store.outcome import Outcome, Row

KEY = Credentials("key-of-a-lane", "the-secret", "the-token", "the RAM role of this machine")
OPERATION = OPERATIONS["InactivateDeviceCertificate"]


class Service:
    """Answers as told, in place of HTTP; keeps when it was asked for what.

    Before its verdict it gives those that are ``first``, one after another.
    """

    def __init__(self, *, latency_s=0.01, verdict=Verdict.DONE, code="", first=()):
        self.latency_s, self.verdict, self.code, self.first = latency_s, verdict, code, list(first)
        self.asked, self.instances = [], []

    def connect(self, target, provider, _sockets):
        return ServiceClient(self, provider)


class ServiceClient:
    def __init__(self, service, provider):
        self.service, self.provider = service, provider

    def prepare(self, _parameters):
        return None

    async def call(self, operation, parameters):
        self.service.instances.append(parameters["MqttInstanceId"])
        self.service.asked.append((clock(), parameters.get("DeviceSn", "")))
        await anyio.sleep(self.service.latency_s)
        verdict = self.service.first.pop(0) if self.service.first else self.service.verdict
        return Response(
            verdict=verdict,
            code=self.service.code,
            http_status=200 if verdict is Verdict.DONE else 403,
            request_id="R" if verdict is not Verdict.UNANSWERED else "",
            sent_at=1,
            finished_at=2,
            latency_ms=10.0,
            credentials=self.provider.current,
        )

    async def aclose(self):
        pass


def target(rate=500, per_address=300, **more):
    asked = {"addresses": (None,), "workers": 64, "attempts": 3, "timeout_s": 5.0, "instance": "post-cn-1"} | more
    return Target(
        endpoint=httpx.URL("http://127.0.0.1"),
        account_cap=rate,
        address_cap=per_address,
        **asked,
    )


class Fleet:
    """A coordinator and its lanes; what they say goes through the codec, as over a network."""

    def __init__(self, group, service):
        self.group, self.progress, self.said = group, Progress(), []
        self.lanes = FleetLanes(FixedCredentials(KEY), self.progress, service, "a test")
        self.cut = set()
        group.start_soon(self.lanes.watch)

    def join(self, name, service, egress=None):
        lane = LaneAddress(name, None, egress or name)
        participant = Participant(lane, FixedCredentials(KEY), lambda _: None, service.connect)

        async def exchange(report):
            while name in self.cut:  # noqa: ASYNC110 - a network has no event
                await anyio.sleep(0.01)
            asked = encode(report)
            answer = encode(self.lanes.exchange(decode_report(asked)))
            self.said += [asked, answer]
            return decode_grant(answer)

        scope = anyio.CancelScope()

        async def run():
            with scope:
                await participant.run(exchange)

        self.group.start_soon(run)
        participant.scope = scope
        return participant

    async def call(self, number):
        on = {"MqttInstanceId": [*self.lanes.service.instances, "post-cn-1"][0]}
        return await self.lanes.settle(None, OPERATION, {**on, "CaSn": "ca", "DeviceSn": f"d{number}"})

    async def call_all(self, count):
        results = {}

        async def one(number):
            results[number] = await self.call(number)

        async with anyio.create_task_group() as calls:
            for number in range(count):
                calls.start_soon(one, number)
        return results

    def state(self, name):
        states = [lane.state(0.0) for lane in self.progress.lanes]
        return next(state for state in states if state.name == name)


def played(play, service=None):
    """Plays with a fleet until the play is over."""

    async def main():
        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:
                fleet = Fleet(group, service or target())
                await play(fleet)
                group.cancel_scope.cancel()

    anyio.run(main)


def test_every_call_is_made_once_and_comes_back(monkeypatch):
    """Whatever lane makes it; no secret is in anything that is said."""
    # A machine that is busy for seconds makes a lane fall silent, and its calls are made twice then.
    monkeypatch.setattr(Shares, "is_silent", lambda *_: False)
    one, two = Service(), Service()

    async def play(fleet):
        fleet.join("one", one)
        fleet.join("two", two)
        results = await fleet.call_all(300)

        assert {result.answer.verdict for result in results.values()} == {Verdict.DONE}
        assert sorted(serial for _, serial in one.asked + two.asked) == sorted(f"d{number}" for number in range(300))
        assert one.asked
        assert two.asked
        said = b"".join(fleet.said)
        assert b"key-of-a-lane" in said
        assert b"the-secret" not in said
        assert b"the-token" not in said
        assert fleet.state("one").key == "key-of-a-lane"
        fleet.lanes.end()
        assert fleet.progress.sends.sends == 300

    played(play)


def test_rows_may_name_their_instance():
    """A lane calls the one that its row names."""
    service = Service()

    async def play(fleet):
        fleet.join("one", service)
        await fleet.call_all(2)

    played(play, target(instance="", instances={"post-cn-2": httpx.URL("http://127.0.0.2")}))
    assert service.instances == ["post-cn-2"] * 2


def test_a_doubtful_row_is_read_by_some_lane():
    """What the engine asks of lanes is asked of those elsewhere as well."""
    records = []

    class Store:
        async def add(self, record):
            records.append(record)

    async def play(fleet):
        fleet.join("one", Service(verdict=Verdict.FAILED, first=[Verdict.UNANSWERED]))
        engine = Engine(ACTIONS["inactivate-device"], fleet.lanes, Store(), max_errors=Limit())
        await engine._call(fleet.lanes.lanes[0], Row(1, "d1", "ca"))

    played(play)
    assert [(record.outcome, record.attempts) for record in records] == [(Outcome.UNKNOWN, 3)]


def test_the_limit_is_shared_and_no_second_holds_more():
    """Three lanes, two of them behind one address: never more than the account's limit, nor than an address's."""
    services = [Service() for _ in range(3)]

    async def play(fleet):
        for name, service, egress in zip("abc", services, ("one", "two", "two"), strict=True):
            fleet.join(name, service, egress)
        await fleet.call_all(400)
        assert [fleet.state(name).share for name in "abc"] == [50, 25, 25]

    played(play, target(100, 80))
    sent = sorted(at for service in services for at, _ in service.asked)
    shared = sorted(at for service in services[1:] for at, _ in service.asked)
    assert peak(sent) <= 100
    assert peak(shared) <= 72


def peak(times):
    return max(sum(1 for at in times[first:] if at < start + 1) for first, start in enumerate(times))


def test_sends_keep_their_distance():
    """A report that was late says little about the lane's clock; what follows it is not taken for sent at once."""
    member = Member("one", "one 1", Hello("1", "host", 1, "any", "egress"))
    sent = [
        at
        for stamp, arrived in ((1.0, 1.3), (1.2, 1.2))
        for at in member.take(LaneReport("one", 1, stamp, sent=[stamp - 0.1]), Progress(), arrived)
    ]
    assert sent[1] - sent[0] == pytest.approx(0.2)


def test_what_is_left_is_shared_out():
    """Calls for less than a second go to all lanes, not to whichever asks first."""
    services = Service(), Service()

    async def play(fleet):
        for name, service in zip(("one", "two"), services, strict=True):
            fleet.join(name, service)
        await fleet.call_all(60)

    played(play, target(remote_lanes=1))
    assert min(len(service.asked) for service in services) >= 20


def test_rows_of_a_lane_that_falls_silent_go_to_others():
    """It is cut off: after its lease others make its calls; what it has made itself meanwhile is made twice, once each.

    When it is back it makes none of the calls that were given away.
    """
    one, two = Service(latency_s=0.05), Service(latency_s=0.05)

    async def play(fleet):
        fleet.join("one", one)
        fleet.join("two", two)
        async with anyio.create_task_group() as calls:
            calls.start_soon(fleet.call_all, 900)
            await anyio.sleep(1.0)
            fleet.cut.add("one")
            cut_at = clock()
            # After its lease; later where this process itself gets no turn, which is no silence of others.
            await anyio.sleep(2.0)
            while fleet.state("one").doing != "silent":  # noqa: ASYNC110 - it is seen, not said
                await anyio.sleep(0.05)
            last = max(at for at, _ in one.asked)
            fleet.cut.clear()
        assert last < cut_at + 2.0
        assert fleet.progress.handed_over or fleet.lanes._pool.handed_over
        counts = [serial for _, serial in one.asked + two.asked]
        assert len(counts) - 900 <= fleet.lanes._pool.handed_over
        assert len(set(counts)) == 900

    played(play, target(200, 150))


REFUSALS = {
    "its credentials": (Verdict.STOP, "InvalidAccessKeyId.NotFound"),
    "its clock": (Verdict.STOP, "InvalidTimeStamp.Expired"),
    "its address": (Verdict.UNANSWERED, "Client.Timeout"),
}


@pytest.mark.parametrize(("verdict", "code"), REFUSALS.values(), ids=REFUSALS)
def test_a_lane_that_is_refused_is_left_out_and_the_others_go_through(verdict, code):
    """What is wrong with one lane does not end the run: it is named with the reason, its calls are made by others."""
    bad, good = Service(verdict=verdict, code=code), Service()

    async def play(fleet):
        fleet.join("bad", bad)
        fleet.join("good", good)
        results = await fleet.call_all(200)

        assert {result.answer.verdict for result in results.values()} == {Verdict.DONE}
        assert fleet.state("bad").doing.startswith("refused: ")
        assert code in fleet.state("bad").doing
        assert fleet.progress.stop is None

    played(play)


def test_when_all_lanes_are_refused_the_run_stops():
    """There is nobody left to call; the answer says why."""
    bad = Service(verdict=Verdict.STOP, code="InvalidAccessKeyId.NotFound")

    async def play(fleet):
        fleet.join("one", bad)
        fleet.join("two", bad)
        await fleet.call_all(20)

        assert fleet.progress.stop.status is ExitStatus.DENIED
        assert "InvalidAccessKeyId.NotFound" in fleet.progress.stop.message

    played(play)


def test_a_wrong_instance_stops_all_lanes():
    """An answer that every row would get ends the run, whichever lane got it."""
    bad, good = Service(verdict=Verdict.STOP, code="UnsupportedHTTPMethod"), Service(latency_s=0.5)

    async def play(fleet):
        fleet.join("bad", bad)
        fleet.join("good", good)
        await fleet.call_all(500)

        assert fleet.progress.stop.status is ExitStatus.MISCONFIGURED

    played(play)


def test_a_throttle_at_one_lane_slows_all_down():
    """Within half a second, whoever it was that was throttled."""
    throttled, other = Service(verdict=Verdict.THROTTLED, code="Throttling.User"), Service()

    async def play(fleet):
        fleet.join("throttled", throttled)
        participant = fleet.join("other", other)
        async with anyio.create_task_group() as calls:
            calls.start_soon(fleet.call_all, 400)
            while not fleet.progress.throttles:  # noqa: ASYNC110 - it is counted, not said
                await anyio.sleep(0.01)
            await anyio.sleep(0.5)
            slowed = participant._caller.progress.slow_down.factor(anyio.current_time())
            calls.cancel_scope.cancel()
        assert slowed < 1

    played(play)


def test_what_an_operator_asks_reaches_the_lanes():
    """A pause, its end, and other limits: nothing is sent in a pause, and never more than the limit of then."""
    service, failures = Service(), []

    async def play(fleet):
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
        fleet.join("one", service)
        async with anyio.create_task_group() as calls:
            calls.start_soon(fleet.call_all, 250)
            await anyio.sleep(1.0)
            fleet.lanes.pause("an operator")
            await anyio.sleep(0.5)
            sent = len(service.asked)
            await anyio.sleep(0.5)
            assert 0 < len(service.asked) == sent < 250
            await fleet.lanes.change(target(50, 300))
            fleet.lanes.resume()
            resumed_at = clock()
        assert peak([at for at, _ in service.asked if at > resumed_at]) <= 50

    played(play, target(200, 300))
    assert not failures


def test_a_stop_drains_the_lanes():
    """Calls in flight come back, what was not sent does not, and nobody waits any longer."""
    service = Service(latency_s=0.3)

    async def play(fleet):
        fleet.join("one", service)
        fleet.join("two", service)
        async with anyio.create_task_group() as calls:
            results = {}

            async def one(number):
                results[number] = await fleet.call(number)

            for number in range(400):
                calls.start_soon(one, number)
            await anyio.sleep(1.0)
            fleet.lanes.stop(Stop(ExitStatus.INTERRUPTED, "SIGINT received"))
        made = [result for result in results.values() if result is not None]
        assert len(results) == 400
        assert 0 < len(made) == len(service.asked) < 400

    played(play)


@pytest.mark.parametrize("version", ["0.0.1", "99"])
def test_another_version_is_refused(version):
    """A lane of another version might mean something else by the same words."""

    async def play(fleet):
        hello = Hello(version, "host", 1, "any", "egress")
        grant = fleet.lanes.exchange(LaneReport("one", 0, clock(), hello))

        assert f"bulkcert {version} here, {__version__} at the coordinator" in grant.refusal

    played(play)


def test_a_run_begins_once_all_lanes_have_joined(monkeypatch):
    """Lanes that are expected are waited for, for a minute; then the run stops and says how many are missing."""
    monkeypatch.setattr(coordinator, "WAIT_S", 1.0)
    service = Service()

    async def play(fleet):
        fleet.join("one", service)
        async with anyio.create_task_group() as calls:
            calls.start_soon(fleet.call_all, 10)
            await anyio.sleep(0.5)
            assert fleet.progress.waiting_for == "waiting for 1 lane to join"
            assert not service.asked
        assert fleet.progress.stop.status is ExitStatus.UNAVAILABLE

    played(play, target(remote_lanes=1))


@given(st.lists(st.text()), st.integers(0, 500))
def test_what_is_said_is_understood(values, share):
    """Reports and grants survive the codec."""
    report = LaneReport("lane", share, 1.5, throttles=[0.5], key=("a", "b"))

    assert decode_report(encode(report)) == report

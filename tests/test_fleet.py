"""Coordinator and lanes without a network between them: calls, shares, and what happens when a lane does not behave."""

import asyncio
from contextlib import asynccontextmanager

import anyio
import httpx
import pytest
from stamping import peak

from bulkcert.engine.calling import Engine
from bulkcert.engine.failures import Stop
from bulkcert.engine.figures import Counts
from bulkcert.engine.progress import Progress
from bulkcert.engine.target import Limit, Target
from bulkcert.errors import ExitStatus
from bulkcert.fleet import caller, coordinator, lane
from bulkcert.fleet.caller import clock
from bulkcert.fleet.coordinator import FleetLanes
from bulkcert.fleet.lane import LaneAddress, take_part
from bulkcert.fleet.member import Member
from bulkcert.fleet.messages import Hello, LaneReport, decode_grant, decode_report, encode
from bulkcert.fleet.pool import CallPool
from bulkcert.fleet.shares import LaneShare
from bulkcert.service.actions import ACTIONS, OPERATIONS
from bulkcert.service.client import Response
from bulkcert.service.codes import Verdict
from bulkcert.service.credentials import FixedCredentials
from bulkcert.service.signing import Credentials
from bulkcert.store.outcome import Outcome, Row

KEY = Credentials("key-of-a-lane", "the-secret", "the-token", "the RAM role of this machine")
OPERATION = OPERATIONS["InactivateDeviceCertificate"]


class Service:
    """Answers one lane as told, in place of HTTP; keeps when it was asked for what.

    Before its verdict it gives those that are ``first``, one after another.
    """

    def __init__(self, *, latency_s=0.01, verdict=Verdict.DONE, code="", first=()):
        self.latency_s, self.verdict, self.code, self.first = latency_s, verdict, code, list(first)
        self.asked, self.instances = [], []

    def prepare(self, _parameters):
        return None

    async def call(self, operation, parameters):
        self.instances.append(parameters["MqttInstanceId"])
        self.asked.append((clock(), parameters.get("DeviceSn", "")))
        await anyio.sleep(self.latency_s)
        verdict = self.first.pop(0) if self.first else self.verdict
        return Response(
            verdict=verdict,
            code=self.code,
            http_status=200 if verdict is Verdict.DONE else 403,
            request_id="R" if verdict is not Verdict.UNANSWERED else "",
            sent_at=1,
            finished_at=2,
            latency_ms=10.0,
            credentials=KEY,
        )

    async def aclose(self):
        pass

    async def asked_for(self, count):
        """Returns once it was asked for so many calls, however slow the machine."""
        while len(self.asked) < count:  # noqa: ASYNC110 - it is counted, not said
            await anyio.sleep(0.01)


def target(rate=500, per_address=300, **more):
    asked = {"addresses": (None,), "workers": 64, "attempts": 3, "timeout_s": 5.0, "instance": "post-cn-1"} | more
    return Target(endpoint=httpx.URL("http://127.0.0.1"), account_cap=rate, address_cap=per_address, **asked)


class Fleet:
    """A coordinator and its lanes; what they say goes through the codec, as over a network.

    Args:
        group: Where they work.
        service: What the coordinator shares out.
        services: Gets what each lane calls, by the lane's name, which is its address here.
    """

    def __init__(self, group, service, services):
        self.group, self.progress, self.said, self.services = group, Progress(), [], services
        self.lanes = FleetLanes(FixedCredentials(KEY), self.progress, service, "a test")
        self.cut, self.results, self.ends = set(), {}, {}
        group.start_soon(self.lanes.watch)

    def join(self, name, service, egress=None):
        self.services[name] = service

        async def exchange(report):
            while name in self.cut:  # noqa: ASYNC110 - a network has no event
                await anyio.sleep(0.01)
            asked = encode(report)
            answer = encode(self.lanes.exchange(decode_report(asked)))
            self.said += [asked, answer]
            return decode_grant(answer)

        who, self.ends[name] = LaneAddress(name, name, egress or name), asyncio.Event()
        self.group.start_soon(take_part, who, FixedCredentials(KEY), lambda _: None, exchange, self.ends[name])

    async def call_all(self, count):
        on = {"MqttInstanceId": [*self.lanes.service.instances, "post-cn-1"][0]}

        async def one(number):
            row = {**on, "CaSn": "ca", "DeviceSn": f"d{number}"}
            self.results[number] = await self.lanes.settle(None, OPERATION, row)

        async with anyio.create_task_group() as calls:
            for number in range(count):
                calls.start_soon(one, number)

    @property
    def verdicts(self):
        return {result.answer.verdict for result in self.results.values()}

    def state(self, name):
        states = [lane.state(0.0) for lane in self.progress.lanes]
        return next(state for state in states if state.name == name)


@pytest.fixture
def fleet(monkeypatch):
    """Returns a fleet, as a context: of a target, and of the services that its lanes ``one``, ``two``, … call."""
    services = {}
    monkeypatch.setattr(caller, "client_from", lambda address, *_: services[address])

    @asynccontextmanager
    async def made(*called, of=None):
        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:
                fleet = Fleet(group, of or target(), services)
                for name, service in zip(("one", "two"), called, strict=False):
                    fleet.join(name, service)
                yield fleet
                group.cancel_scope.cancel()

    return made


@pytest.fixture
def callers(monkeypatch):
    """Returns a list that gets what calls of each lane."""
    made, begin = [], caller.Caller

    def begun(*arguments):
        made.append(begin(*arguments))
        return made[-1]

    monkeypatch.setattr(lane, "Caller", begun)
    return made


async def test_every_call_is_made_once_and_comes_back(fleet, monkeypatch):
    """Whatever lane makes it; no secret is in anything that is said."""
    # A machine that is busy for seconds makes a lane fall silent, and its calls are made twice then.
    monkeypatch.setattr(LaneShare, "is_silent", lambda *_: False)
    one, two = Service(), Service()
    async with fleet(one, two) as made:
        await made.call_all(300)

        assert made.verdicts == {Verdict.DONE}
        assert sorted(serial for _, serial in one.asked + two.asked) == sorted(f"d{number}" for number in range(300))
        assert one.asked
        assert two.asked
        said = b"".join(made.said)
        assert b"key-of-a-lane" in said
        assert b"the-secret" not in said
        assert b"the-token" not in said
        assert made.state("one").key == "key-of-a-lane"
        made.cut = {"one", "two"}  # who says nothing more is not waited for
        await made.lanes.end()
        assert made.progress.sends.sends == 300


async def test_rows_may_name_their_instance(fleet):
    """A lane calls the one that its row names."""
    service = Service()
    async with fleet(service, of=target(instance="", instances={"post-cn-2": httpx.URL("http://127.0.0.2")})) as made:
        await made.call_all(2)

    assert service.instances == ["post-cn-2"] * 2


async def test_a_doubtful_row_is_read_by_some_lane(fleet):
    """What the engine asks of lanes is asked of those elsewhere as well."""
    records = []

    class Store:
        async def add(self, record):
            records.append(record)

    async with fleet(Service(verdict=Verdict.FAILED, first=[Verdict.UNANSWERED])) as made:
        engine = Engine(ACTIONS["inactivate-device"], made.lanes, Store(), max_errors=Limit())
        await engine._call(made.lanes.lanes[0], Row(1, "d1", "ca"))

    assert [(record.outcome, record.attempts) for record in records] == [(Outcome.UNKNOWN, 3)]


async def test_the_limit_is_shared_and_no_second_holds_more(fleet):
    """Three lanes, two of them behind one address: never more than the account's limit, nor than an address's."""
    services = [Service() for _ in range(3)]
    async with fleet(of=target(100, 80)) as made:
        for name, service, egress in zip("abc", services, ("one", "two", "two"), strict=True):
            made.join(name, service, egress)
        await made.call_all(400)
        assert [made.state(name).share for name in "abc"] == [50, 25, 25]

    sent = sorted(at for service in services for at, _ in service.asked)
    shared = sorted(at for service in services[1:] for at, _ in service.asked)
    assert peak(sent) <= 100
    assert peak(shared) <= 72


def test_sends_keep_their_distance():
    """A report that was late says little about the lane's clock; what follows it is not taken for sent at once."""
    member = Member("one", LaneShare("egress", 0.0), Hello("1", "host", "any", "egress"))
    sent = [
        at
        for stamp, arrived in ((1.0, 1.3), (1.2, 1.2))
        for at in member.take(LaneReport("one", 1, stamp, sent=[stamp - 0.1]), Progress(), arrived)
    ]
    assert sent[1] - sent[0] == pytest.approx(0.2)


def test_what_was_answered_follows_from_what_was_counted():
    """Each attempt of a lane that met no throttle is an answer, once, however often its counts are reported."""
    member, progress = Member("one", LaneShare("egress", 0.0), Hello("1", "host", "any", "egress")), Progress()
    heard, counts = [], Counts()
    progress.slow_down.answered = lambda: heard.append(1)
    counts.latency_counts[0] = 3
    for throttles in ([0.0], []):
        member.take(LaneReport("one", 1, 1.0, counts=counts, throttles=throttles), progress, 1.0)

    assert (len(heard), progress.outage.answered, progress.slow_down.factor(1.0) < 1) == (2, True, True)


def test_a_call_that_may_have_been_made_is_said_to_be_unknown():
    """Its lane was gone when the session stopped; what no lane has had was not sent."""

    async def main():
        pool = CallPool()
        lost, never = (pool.call("one", (), ahead=False, unanswered=False) for _ in range(2))
        assert [call.number for call in pool.take(1)] == [1]
        assert pool.lose(1, stopping=True)
        pool.drain()
        return await lost, await never

    lost, never = anyio.run(main)
    assert (lost.answer.verdict, lost.attempts, lost.unanswered, never) == (Verdict.UNANSWERED, 1, True, None)


async def test_what_is_left_is_shared_out(fleet):
    """Calls for less than a second go to all lanes, not to whichever asks first."""
    services = Service(), Service()
    async with fleet(*services, of=target(remote_lanes=1)) as made:
        await made.call_all(60)

    assert min(len(service.asked) for service in services) >= 20


async def test_rows_of_a_lane_that_falls_silent_go_to_others(fleet):
    """It is cut off: after its lease others make its calls; what it has made itself meanwhile is made twice, once each.

    When it is back it makes none of the calls that were given away.
    """
    one, two = Service(latency_s=0.05), Service(latency_s=0.05)
    async with fleet(one, two, of=target(200, 150)) as made:
        async with anyio.create_task_group() as calls:
            calls.start_soon(made.call_all, 900)
            await one.asked_for(50)
            made.cut.add("one")
            cut_at = clock()
            # After its lease; later where this process itself gets no turn, which is no silence of others.
            await anyio.sleep(2.0)
            while made.state("one").doing != "silent":  # noqa: ASYNC110 - it is seen, not said
                await anyio.sleep(0.05)
            last = max(at for at, _ in one.asked)
            made.cut.clear()
        assert last < cut_at + 2.0
        assert made.progress.handed_over
        asked = [serial for _, serial in one.asked + two.asked]
        assert len(asked) - 900 <= made.progress.handed_over
        assert len(set(asked)) == 900


REFUSALS = {
    "its credentials": (Verdict.STOP, "InvalidAccessKeyId.NotFound"),
    "its clock": (Verdict.STOP, "InvalidTimeStamp.Expired"),
    "its address": (Verdict.UNANSWERED, "Client.Timeout"),
}


@pytest.mark.parametrize(("verdict", "code"), REFUSALS.values(), ids=REFUSALS)
async def test_a_lane_that_is_refused_is_left_out_and_the_others_go_through(fleet, verdict, code):
    """What is wrong with one lane does not end the run: it is named with the reason, its calls are made by others."""
    async with fleet(Service(verdict=verdict, code=code), Service()) as made:
        await made.call_all(200)

        assert made.verdicts == {Verdict.DONE}
        assert made.state("one").doing.startswith("refused: ")
        assert code in made.state("one").doing
        assert made.progress.stop is None


async def test_when_all_lanes_are_refused_the_run_stops(fleet):
    """There is nobody left to call; the answer says why."""
    bad = Service(verdict=Verdict.STOP, code="InvalidAccessKeyId.NotFound")
    async with fleet(bad, bad) as made:
        await made.call_all(20)

        assert made.progress.stop.status is ExitStatus.DENIED
        assert "InvalidAccessKeyId.NotFound" in made.progress.stop.message


async def test_a_throttle_at_one_lane_slows_all_down(fleet, callers):
    """Within half a second, whoever it was that was throttled."""
    async with fleet(Service(verdict=Verdict.THROTTLED, code="Throttling.User"), Service()) as made:
        async with anyio.create_task_group() as calls:
            calls.start_soon(made.call_all, 400)
            while not made.progress.throttles:  # noqa: ASYNC110 - it is counted, not said
                await anyio.sleep(0.01)
            await anyio.sleep(0.5)
            slowed = [each.progress.slow_down.factor(anyio.current_time()) for each in callers]
            calls.cancel_scope.cancel()
        assert len(slowed) == 2
        assert max(slowed) < 1


async def test_what_an_operator_asks_reaches_the_lanes(fleet):
    """A pause, its end, and other limits: nothing is sent in a pause, and never more than the limit of then."""
    service, failures = Service(), []
    async with fleet(service, of=target(200, 300)) as made:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
        async with anyio.create_task_group() as calls:
            calls.start_soon(made.call_all, 250)
            await service.asked_for(50)
            made.lanes.pause("an operator")
            await anyio.sleep(0.5)
            sent = len(service.asked)
            await anyio.sleep(0.5)
            assert 0 < len(service.asked) == sent < 250
            await made.lanes.change(target(50, 300))
            made.lanes.resume()
            resumed_at = clock()
        assert peak([at for at, _ in service.asked if at > resumed_at]) <= 50

    assert not failures


async def test_a_stop_drains_the_lanes(fleet):
    """Calls in flight come back, what was not sent does not, and nobody waits any longer."""
    service = Service(latency_s=0.3)
    async with fleet(service, service) as made:
        async with anyio.create_task_group() as calls:
            calls.start_soon(made.call_all, 400)
            await service.asked_for(50)
            made.lanes.stop(Stop(ExitStatus.INTERRUPTED, "SIGINT received"))
        came_back = [result for result in made.results.values() if result is not None]
        assert len(made.results) == 400
        assert 0 < len(came_back) == len(service.asked) < 400


async def test_a_lane_that_ends_gives_back_what_it_has_not_sent(fleet, callers):
    """What waits there for its turn was never sent: nobody has to find out what became of it."""
    service = Service()
    async with fleet(service) as made:
        made.lanes.pause("an operator")
        async with anyio.create_task_group() as calls:
            calls.start_soon(made.call_all, 20)
            while not (callers and callers[0]._held == 20):  # noqa: ASYNC110 - it is counted, not said
                await anyio.sleep(0.01)
            made.ends["one"].set()
            while made.state("one").doing != "has left":  # noqa: ASYNC110 - it is seen, not said
                await anyio.sleep(0.01)
            made.lanes.stop(Stop(ExitStatus.INTERRUPTED, "SIGINT received"))
        assert (made.results, made.progress.handed_over) == (dict.fromkeys(range(20)), 0)
        assert not service.asked


async def test_a_lane_that_ends_sends_nothing_more(fleet):
    """Not even while its coordinator does not answer, though its lease and the calls that it holds last longer."""
    service = Service()
    async with fleet(service, of=target(60, 60)) as made, anyio.create_task_group() as calls:
        calls.start_soon(made.call_all, 500)
        await service.asked_for(60)
        made.cut.add("one")
        made.ends["one"].set()
        await anyio.sleep(0.05)
        sent = len(service.asked)
        await anyio.sleep(0.5)
        assert len(service.asked) == sent
        made.lanes.stop(Stop(ExitStatus.INTERRUPTED, "SIGINT received"))
        made.cut.clear()


async def test_a_run_begins_once_all_lanes_have_joined(fleet, monkeypatch):
    """Lanes that are expected are waited for, for a minute; then the run stops and says how many are missing."""
    monkeypatch.setattr(coordinator, "WAIT_S", 1.0)
    service = Service()
    async with fleet(service, of=target(remote_lanes=1)) as made:
        async with anyio.create_task_group() as calls:
            calls.start_soon(made.call_all, 10)
            await anyio.sleep(0.5)
            assert made.progress.waiting_for == "waiting for 1 lane to join"
            assert not service.asked
        assert made.progress.stop.status is ExitStatus.UNAVAILABLE

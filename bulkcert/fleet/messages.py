"""What a lane on another machine and its coordinator say to each other: typed MessagePack; no code, and no secret."""

import msgspec

from bulkcert.engine.failures import Stop
from bulkcert.engine.figures import Counts, LastError
from bulkcert.engine.lanes import CallResult


class Hello(msgspec.Struct, frozen=True):
    """Who a lane is.

    Attributes:
        version: Of bulkcert.
        host: Its machine.
        address: Its source address, or ``any``.
        egress: What the service sees its calls come from; lanes of one egress share one address's limit.
    """

    version: str
    host: str
    address: str
    egress: str


class Call(msgspec.Struct, frozen=True, array_like=True):
    """One call that a lane is to make.

    Attributes:
        number: Of the call, in the session.
        operation: Name of what is called.
        values: The instance, and those of its parameters in the order of the operation's table.
        unanswered: Whether it may have been made before without an answer.
    """

    number: int
    operation: str
    values: tuple[str, ...]
    unanswered: bool


class Orders(msgspec.Struct, frozen=True):
    """What a lane needs to know of a session before its first call; see ``engine.target.Target``."""

    run: str
    instance: str
    endpoint: str
    workers: int
    attempts: int
    timeout_s: float
    instances: dict[str, str]


class LaneReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a lane reports, several times a second.

    Attributes:
        lane: Its name.
        number: Of the newest grant that it has; 0 before the first.
        stamp: Its own clock, in seconds; the lease that answers counts from here.
        hello: Who it is; None once the coordinator knows.
        results: Calls that are over since the last report, by number, with what came of them; None where one was not
            sent.
        sent: When requests were sent since, by the same clock.
        in_flight: Calls that wait for an answer.
        counts: What it has counted in this session.
        errors: The newest error of each code that came since.
        throttles: What each throttle since asked to wait, in seconds.
        is_silent: Whether the service does not answer it.
        halt: Why it makes no more calls; None if it does.
        key: Access key that it signs with, and where that comes from.
        leaves: Whether this is its last report.
    """

    lane: str
    number: int
    stamp: float
    hello: Hello | None = None
    results: list[tuple[int, CallResult | None]] = []
    sent: list[float] = []
    in_flight: int = 0
    counts: Counts = msgspec.field(default_factory=Counts)
    errors: list[LastError] = []
    throttles: list[float] = []
    is_silent: bool = False
    halt: Stop | None = None
    key: tuple[str, str] = ("", "")
    leaves: bool = False


class Grant(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the coordinator answers.

    Attributes:
        number: Of the grant.
        stamp: That of the report; what is granted holds for ``shares.LEASE_S`` from it, by the lane's clock.
        share: Calls per second.
        calls: More calls to make.
        recalls: Whether all calls that were not sent yet are given to others.
        factor: Share of the share that may be used after throttling.
        pause_s: For how long nothing is to be sent.
        is_paused: Whether nothing is to be sent until a later grant says so.
        stops: Whether calls in flight are to be finished, and no others made.
        orders: What the session is, for a lane that begins, or begins again.
        asks_hello: Whether the lane is not known any more and is to say who it is.
        refusal: Why the lane cannot take part; empty if it can.
        is_over: Whether the session has ended.
    """

    number: int
    stamp: float
    share: int = 0
    calls: list[Call] = []
    recalls: bool = False
    factor: float = 1.0
    pause_s: float = 0.0
    is_paused: bool = False
    stops: bool = False
    orders: Orders | None = None
    asks_hello: bool = False
    refusal: str = ""
    is_over: bool = False


encode = msgspec.msgpack.Encoder().encode
decode_report = msgspec.msgpack.Decoder(LaneReport).decode
decode_grant = msgspec.msgpack.Decoder(Grant).decode

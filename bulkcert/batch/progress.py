"""How far a run is: counted by the engine, read by whoever shows it."""

import time
from collections import Counter
from dataclasses import dataclass, field

from bulkcert.batch.last_errors import LastErrors
from bulkcert.batch.outage import Outage
from bulkcert.batch.outcome import Outcome
from bulkcert.batch.pacer import SendWindow, SlowDown
from bulkcert.errors import ExitStatus


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a run ends before all its rows are called."""

    status: ExitStatus
    message: str
    advice: str = ""


@dataclass(slots=True)
class LaneProgress:
    """What one lane has done so far in this session.

    Attributes:
        sends: Requests sent.
        in_flight: Calls that wait for an answer.
    """

    sends: int = 0
    in_flight: int = 0


@dataclass(slots=True)
class Progress:
    """What has happened so far in this session; read by whoever shows it."""

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    lanes: list[LaneProgress] = field(default_factory=list)
    """Each lane, in the order of the source addresses."""
    looking: bool = False
    """Whether states are being read, before or after the calls that change them."""
    pages: int = 0
    """Pages of certificates read."""
    reads: int = 0
    """Certificates read one by one."""
    retries: int = 0
    throttles: int = 0
    sends: SendWindow = field(default_factory=SendWindow)
    slow_down: SlowDown = field(default_factory=SlowDown)
    outage: Outage = field(default_factory=lambda: Outage(time.monotonic()))
    not_looked: str = ""
    """Why states could not be read, or not all of them."""
    last_error: str = ""
    errors: LastErrors = field(default_factory=LastErrors)
    stop: Stop | None = None

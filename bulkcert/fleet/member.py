"""One lane as its coordinator sees it, and what all lanes have counted together."""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from bulkcert.engine.figures import Counts, LaneState
from bulkcert.engine.pacer import SendWindow
from bulkcert.engine.progress import Progress, counted_as
from bulkcert.fleet.messages import Hello, LaneReport
from bulkcert.fleet.shares import LaneShare

RECENT_S = 1.5
"""A report that is older says nothing about the rate of now."""


class MergedWindow(SendWindow):
    """Counts sends that several lanes report a little later, each by a clock of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.members: Iterable[Member] = ()
        self._unsettled: list[float] = []

    def merge(self, sent: list[float]) -> None:
        """Takes note of sends, by the coordinator's clock; they are counted at once, and in order once all are in."""
        if sent and not self.sends:
            self.first_s = min(sent)
        self.sends += len(sent)
        self._unsettled += sent

    def settle(self, until: float) -> None:
        """Counts what was sent before a time, in order; what is reported after a silence is in no window any more."""
        self._unsettled.sort()
        settled = bisect_left(self._unsettled, until)
        for at in self._unsettled[:settled]:
            if at >= self.last_s:
                self.sends -= 1
                self.sent(at)
        del self._unsettled[:settled]

    def recent_rate(self, now: float) -> float:
        """Returns the sends of all lanes in the second before their last reports."""
        return sum(member.rate(now) for member in self.members)


@dataclass(slots=True, eq=False)
class Member:
    """A lane.

    Attributes:
        name: Its name.
        lease: What it has of the limits; another one each time that it joins.
        hello: Who it says it is.
        is_here: Whether it is on the coordinator's machine, in its process.
        number: Of the newest grant.
        share: That it grants, in calls per second.
        calls: Numbers of the calls that it holds.
        counts: What it has counted.
        in_flight: Its calls that wait for an answer.
        is_silent: Whether its last report is too long ago.
        resumes_at: When it is given calls again after the service has refused it; 0 unless it has.
        doing: What it does, in words.
        key: Access key that it signs with, and where that comes from.
        offset: The coordinator's clock minus its own, in seconds, as far as reports show.
        sent: When it has sent, as far as that is recent.
    """

    name: str
    lease: LaneShare
    hello: Hello
    is_here: bool = False
    number: int = 0
    share: int = 0
    calls: set[int] = field(default_factory=set)
    counts: Counts = field(default_factory=Counts)
    in_flight: int = 0
    is_silent: bool = False
    resumes_at: float = 0.0
    doing: str = "calling"
    key: tuple[str, str] = ("", "")
    offset: float = float("inf")
    sent: deque[float] = field(default_factory=deque)

    def take(self, report: LaneReport, progress: Progress, now: float) -> list[float]:
        """Counts what it reports with what all have done; returns when it has sent, by the coordinator's clock."""
        slow_down = progress.slow_down
        self.key = report.key
        answers = sum(report.counts.latency_counts) - sum(self.counts.latency_counts) - len(report.throttles)
        for _ in range(answers):
            slow_down.answered()
        for wait_s in report.throttles:
            slow_down.throttled(now, wait_s)
        if answers or report.throttles:
            progress.outage.answer(now, throttled=not answers)
        progress.in_flight += report.in_flight - self.in_flight
        self.in_flight = report.in_flight
        add_counts(progress, self.counts, report.counts)
        self.counts = report.counts
        for error in report.errors:
            code = counted_as(error.code, progress.codes)
            error.count = progress.codes[code]
            progress.errors.pop(code, None)
            progress.errors[code] = error
        if not self.sent:
            # What it has sent shortly before must not come nearer to what it sends now.
            self.offset = min(self.offset, now - report.stamp)
        sent = [at + self.offset for at in report.sent]
        self.sent += sent
        return sent

    def rate(self, now: float) -> float:
        """Returns its sends in the second before its last report."""
        since = max(self.lease.heard_at, now - RECENT_S) - 1.0
        while self.sent and self.sent[0] <= since:
            self.sent.popleft()
        return float(len(self.sent))

    def state(self, now: float) -> LaneState:
        """Returns what it does just now."""
        who = self.hello
        more = (self.name, who.egress, self.share, self.doing, *self.key)
        return LaneState(who.address, self.rate(now), self.in_flight, *more)


def add_counts(progress: Progress, before: Counts, now: Counts) -> None:
    """Adds what a lane has counted since its last report to what all have."""
    for name in ("retries", "throttles", "latency_sum_s"):
        setattr(progress, name, getattr(progress, name) + getattr(now, name) - getattr(before, name))
    for code, count in now.codes.items():
        progress.codes[counted_as(code, progress.codes)] += count - before.codes.get(code, 0)
    added = zip(progress.latency_counts, now.latency_counts, before.latency_counts, strict=True)
    progress.latency_counts = [total + new - old for total, new, old in added]
    if now.throttles > before.throttles:
        progress.throttle_code, progress.retry_after_s = now.throttle_code, now.retry_after_s
    progress.last_error = now.last_error if now.codes != before.codes else progress.last_error

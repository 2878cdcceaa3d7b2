"""How the rate falls when the service throttles or is silent, and how it recovers."""


class SlowDown:
    """How much of the cap is used after throttling; shared by all lanes. Times are monotonic seconds, passed in.

    A throttle takes the factor down by twice the share of recent answers that were throttles, between 5 and 50 %: a
    stray one costs next to nothing, a service that refuses a third of the calls halves the rate. That happens at most
    once a second, since the answers to calls already on their way say nothing new. The factor comes back by 5 % of
    the full rate a second, by time passing and nothing else.
    """

    LEAST_CUT = 0.05
    MOST_CUT = 0.5
    FLOOR = 1 / 16
    RECOVERY_PER_S = 0.05
    ONCE_PER_S = 1.0
    MEMORY = 0.98
    """Weight that an answer keeps when the next one comes: some fifty answers count."""

    def __init__(self) -> None:
        self._factor = 1.0
        self._since = 0.0
        self._lowered_at = float("-inf")
        self._share = 0.0
        self.paused_until = 0.0
        """Nothing is sent before this time."""

    def factor(self, now: float) -> float:
        """Returns the share of the cap that may be used, between ``FLOOR`` and 1."""
        if self._factor >= 1.0:
            return 1.0
        return min(1.0, self._factor + max(0.0, now - self._since) * self.RECOVERY_PER_S)

    def answered(self) -> None:
        """Takes note of an answer that is no throttle."""
        self._share *= self.MEMORY

    def throttled(self, now: float, retry_after_s: float) -> None:
        """Takes note of a throttle, which asks to wait for so long; 0 where it does not say."""
        self._share = self._share * self.MEMORY + (1 - self.MEMORY)
        self.pause(now + retry_after_s)
        if now - self._lowered_at < self.ONCE_PER_S:
            return
        cut = min(self.MOST_CUT, max(self.LEAST_CUT, 2 * self._share))
        self._lower(now, self.factor(now) * (1 - cut))

    def silent(self, now: float, pause_s: float) -> None:
        """Takes note of an outage: holds all lanes for a while, and starts again from the lowest rate."""
        self.pause(now + pause_s)
        self._lower(now, self.FLOOR)

    def pause(self, until: float) -> None:
        """Holds all lanes until a time, at least."""
        self.paused_until = max(self.paused_until, until)

    def _lower(self, now: float, factor: float) -> None:
        self._factor = max(self.FLOOR, factor)
        self._lowered_at = now
        self._since = max(now, self.paused_until)

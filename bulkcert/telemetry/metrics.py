"""What is measured of a run, as metric families for Prometheus.

What begins with ``bulkcert_last_`` is of the last run that ended, and stays through the next one; the rest is of the
session that goes on, or went on last. Labels do not use ``job`` and ``instance``: those are the scraper's.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import accumulate

from prometheus_client import Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.parser import text_string_to_metric_families

from bulkcert.engine.progress import LATENCY_BOUNDS_S
from bulkcert.engine.stats import Stats
from bulkcert.errors import ExitStatus
from bulkcert.output.summary import Summary
from bulkcert.store.outcome import Outcome

_VERSION = version("bulkcert")
LABELS = ("action", "mqtt_instance", "job_name")
LAST = "bulkcert_last_"
ACTIVE = "bulkcert_run_active"
NO_CODE = "OK"
"""Label of the answers that carry no code: what was asked is done."""


def is_active(exposition: str) -> bool:
    """Returns whether an exposition says that a session goes on.

    Raises:
        ValueError: It is no exposition.
    """
    families = text_string_to_metric_families(exposition)
    return any(sample.value == 1 for family in families if family.name == ACTIVE for sample in family.samples)


@dataclass(slots=True)
class Measured:
    """A session as it is measured.

    Attributes:
        labels: Values of ``LABELS``.
        caps: Calls per second that are allowed, by what they bind: account, address, lane.
        started_at: Unix time in seconds.
        stats: What the session does; None until calls are made.
        last: What is known of the last run that ended: values by name of the metric and value of its own label.
        active: Whether the session goes on.
    """

    labels: tuple[str, str, str]
    caps: Mapping[str, int]
    started_at: float = field(default_factory=time.time)
    stats: Stats | None = None
    last: dict[tuple[str, str], float] = field(default_factory=dict)
    active: bool = True

    def carry_over(self, exposition: str) -> None:
        """Takes over what an earlier exposition says of the last run; that of other labels is not this one's.

        Raises:
            ValueError: It is no exposition.
        """
        samples = (sample for family in text_string_to_metric_families(exposition) for sample in family.samples)
        for sample in samples:
            of_this = tuple(sample.labels.get(name, "") for name in LABELS) == self.labels
            if of_this and sample.name.startswith(LAST):
                self.last[sample.name, sample.labels.get("outcome", "")] = sample.value

    def end(self, status: ExitStatus, summary: Summary | None) -> None:
        """Takes note of how the session ended; without a summary there are no results."""
        now = time.time()
        self.active = False
        self.last[LAST + "end_timestamp_seconds", ""] = now
        self.last[LAST + "duration_seconds", ""] = now - self.started_at
        self.last[LAST + "exit_status", ""] = status
        if status == ExitStatus.OK:
            self.last[LAST + "success_timestamp_seconds", ""] = now
        if summary is not None:
            for outcome in Outcome:
                self.last[LAST + "rows", outcome.value] = summary.outcomes.get(outcome, 0)

    def exposition(self) -> bytes:
        """Returns all metrics as they are now, in Prometheus' text format."""
        return generate_latest(self)

    def collect(self) -> Iterable[Metric]:
        """Returns all metrics: what ``generate_latest`` asks of a registry."""
        return self._families()

    def _families(self) -> Iterator[Metric]:
        yield from self._session()
        if self.stats is not None:
            yield from self._rows(self.stats)
            yield from self._calls(self.stats)
            yield from self._pace(self.stats)
        for name, text in _LAST_HELP.items():
            own = {label: value for (metric, label), value in self.last.items() if metric == LAST + name}
            yield self._gauge(LAST + name, text, own, label="outcome" if name == "rows" else "")

    def _session(self) -> Iterator[Metric]:
        build = GaugeMetricFamily("bulkcert_build_info", "Version of bulkcert.", labels=[*LABELS, "version"])
        build.add_metric([*self.labels, _VERSION], 1)
        yield build
        yield self._gauge(ACTIVE, "1 while a session goes on.", {"": self.active})
        yield self._gauge("bulkcert_run_start_timestamp_seconds", "When the session started.", {"": self.started_at})
        yield self._gauge("bulkcert_updated_timestamp_seconds", "When these metrics were taken.", {"": time.time()})

    def _rows(self, stats: Stats) -> Iterator[Metric]:
        outcomes = {outcome.value: stats.outcomes_now.get(outcome.value, 0) for outcome in Outcome}
        left = max(0, stats.to_call - sum(outcomes.values()))
        yield self._counter("bulkcert_rows_finished", "Rows that this session has finished.", outcomes, "outcome")
        yield self._gauge("bulkcert_rows_to_call", "Rows that this session calls at most.", {"": stats.to_call})
        yield self._gauge("bulkcert_rows_left", "Rows that it has not finished yet.", {"": left})

    def _calls(self, stats: Stats) -> Iterator[Metric]:
        answers = {NO_CODE: sum(stats.latency_counts) - sum(stats.codes.values()), **stats.codes}
        yield self._counter("bulkcert_calls", "Requests sent, reading ones included.", {"": stats.calls})
        yield self._counter("bulkcert_retries", "Calls beyond the first of a row or page.", {"": stats.retries})
        yield self._counter("bulkcert_throttles", "Answers that said to slow down.", {"": stats.throttles})
        yield self._counter("bulkcert_outages", "How often the service went silent.", {"": stats.outages})
        told = "Calls that ended, by the service's code; Client.... is bulkcert's own, where the service gave none."
        yield self._counter("bulkcert_answers", told, answers, "code")
        bounds = [*map(str, LATENCY_BOUNDS_S), "+Inf"]
        histogram = HistogramMetricFamily(
            "bulkcert_call_duration_seconds",
            "Time from sending a call to its answer, or to giving it up.",
            labels=LABELS,
        )
        buckets = list(zip(bounds, accumulate(stats.latency_counts), strict=True))
        histogram.add_metric(self.labels, buckets, stats.latency_sum_s)
        yield histogram

    def _pace(self, stats: Stats) -> Iterator[Metric]:
        rate = stats.rate if self.active else 0.0
        yield self._gauge("bulkcert_calls_per_second", "Calls sent in the last second.", {"": rate})
        yield self._gauge("bulkcert_calls_in_flight", "Calls that wait for an answer.", {"": stats.in_flight})
        told = "Calls per second that are allowed to the account, to each address, and used of that by each lane."
        yield self._gauge("bulkcert_cap_calls_per_second", told, self.caps, label="scope")
        yield self._gauge(
            "bulkcert_cap_used_ratio", "Share of the cap in use: below 1 while slowed down.", {"": stats.factor}
        )
        silent = stats.outage_s > 0
        yield self._gauge("bulkcert_outage_ongoing", "1 while the service does not answer at all.", {"": silent})

    def _gauge(self, name: str, text: str, values: Mapping[str, float], *, label: str = "") -> Metric:
        return self._filled(GaugeMetricFamily(name, text, labels=self._names(label)), values, label)

    def _counter(self, name: str, text: str, values: Mapping[str, float], label: str = "") -> Metric:
        return self._filled(CounterMetricFamily(name, text, labels=self._names(label)), values, label)

    def _names(self, label: str) -> list[str]:
        return [*LABELS, label] if label else [*LABELS]

    def _filled(
        self, family: GaugeMetricFamily | CounterMetricFamily, values: Mapping[str, float], label: str
    ) -> Metric:
        for own, value in values.items():
            family.add_metric([*self.labels, own] if label else self.labels, value)
        return family


_LAST_HELP = {
    "end_timestamp_seconds": "When the last run ended, however it did.",
    "duration_seconds": "How long its last session took.",
    "exit_status": "Its exit status.",
    "success_timestamp_seconds": "When a run last ended with exit status 0.",
    "rows": "Rows of the last results by outcome, as they stand in the file.",
}

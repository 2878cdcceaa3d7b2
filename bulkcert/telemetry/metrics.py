"""What is measured of a run, in a file for the textfile collector of Prometheus' node exporter.

What begins with ``bulkcert_last_`` is of the last run that ended, and stays through the next one; the rest is of the
session that is running, or ran last. Labels do not use ``job`` and ``instance``: those are the scraper's.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from typing import Self

import anyio
import anyio.to_thread
from prometheus_client import Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.parser import text_string_to_metric_families

from bulkcert import __version__
from bulkcert.engine.figures import LATENCY_BOUNDS_S, Stats, Take
from bulkcert.errors import BulkcertError, ExitStatus, status_by
from bulkcert.log import bound
from bulkcert.output.files import read_regular, write_whole
from bulkcert.runs.job import ResolvedJob
from bulkcert.store.lock import is_held
from bulkcert.store.outcome import Outcome
from bulkcert.store.status import status_of

EVERY_S = 15.0
"""How often they are written: as often as Prometheus scrapes, by default."""

READABLE = 0o644
"""The node exporter runs as another user."""

LABELS = ("action", "mqtt_instance", "job_name", "rehearsal")
LAST = "bulkcert_last_"
ACTIVE = "bulkcert_run_active"
NO_CODE = "OK"
"""Label of the answers that carry no code: what was asked is done."""


class Recorder:
    """Keeps the metrics of one session up to date in a file, from its first step to its end, whatever that is.

    It is the context of the session, and is to be given the exit status of one that ends without an error.

    Args:
        job: What the run does.
        path: The file.
        warn: Called with what went wrong; nothing that does ends the run once it has begun.

    Raises:
        BulkcertError: The file cannot be written.
    """

    def __init__(self, job: ResolvedJob, path: Path, warn: Callable[[str], None]) -> None:
        self._path, self._warn, self._warned = path, warn, False
        self._job = job
        # A file name may not be UTF-8, which labels are.
        name = str(bound()["job"] or "").encode(errors="replace").decode()
        self._labels = (job.action.name, job.instance or "by row", name, str(job.rehearsal).lower())
        self._started_at, self._active = time.time(), True
        self._take: Take | None = None
        self.stats: Stats | None = None
        """What the session does; None until calls are made."""
        self.exit_status: int = ExitStatus.INTERNAL
        self._last: dict[tuple[str, str], float] = {}
        """What is known of the last run that ended, by name of the metric and value of its own label."""
        self._carry_over()
        # Where another session holds the run, the file is that one's; this one is refused.
        self._is_mine = True
        with suppress(OSError):  # opening the run says what is wrong with it
            self._is_mine = not is_held(job.files.lock)
        try:
            self._write()
        except OSError as error:
            raise BulkcertError(
                ExitStatus.CANNOT_WRITE,
                f"cannot write {self._path}: {error.strerror or error}",
                "No calls were made. Name a file in a directory that can be written, or leave --metrics-file out.",
            ) from error

    def _carry_over(self) -> None:
        """Takes over what the file says of the last run; that of other labels is not this one's.

        Not from a store: results that have a date in their name are of another run every night.
        """
        try:
            for family in text_string_to_metric_families(read_regular(self._path).decode()):
                for sample in family.samples:
                    of_this = tuple(sample.labels.get(name, "") for name in LABELS) == self._labels
                    if of_this and sample.name.startswith(LAST):
                        self._last[sample.name, sample.labels.get("outcome", "")] = sample.value
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            self._warn(f"{self._path} cannot be read, so the time of the last success is lost: {error}")

    async def watch(self, take: Take) -> None:
        """Writes the metrics every few seconds until cancelled."""
        self._take = take
        while True:
            self.stats = take()
            await anyio.to_thread.run_sync(self._save)
            await anyio.sleep(EVERY_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Writes how the session has ended, and the rows of the run as its store has them; none where there is none."""
        status = self.exit_status if error is None else status_by(error)
        self.stats = self._take() if self._take else None
        now, self._active = time.time(), False
        self._last[LAST + "end_timestamp_seconds", ""] = now
        self._last[LAST + "duration_seconds", ""] = now - self._started_at
        self._last[LAST + "exit_status", ""] = status
        if status == ExitStatus.OK:
            self._last[LAST + "success_timestamp_seconds", ""] = now
        for outcome in Outcome:  # those of a run before may be of other results
            self._last.pop((LAST + "rows", outcome.value), None)
        with suppress(BulkcertError):
            job = self._job
            found = status_of(job.files, brief=True)
            asked, outcomes = found.asked, found.outcomes
            # A start that is refused may have met the run of another.
            if asked and asked.action == job.action.name and job.instance in ("", asked.instance):
                self._last |= {(LAST + "rows", outcome.value): outcomes[outcome] for outcome in Outcome}
        self._save()

    def _save(self) -> None:
        try:
            self._write()
            self._warned = False
        except OSError as error:
            if not self._warned:
                self._warn(f"cannot write {self._path}: {error.strerror or error}; the run continues")
            self._warned = True

    def _write(self) -> None:
        """Replaces the file at once; the collector passes its temporary name over: no ``.prom``."""
        if self._is_mine:
            write_whole(self._path, generate_latest(self), mode=READABLE)

    def collect(self) -> Iterator[Metric]:
        """Yields all metrics as they are now: what ``generate_latest`` asks of a registry."""
        build = GaugeMetricFamily("bulkcert_build_info", "Version of bulkcert.", labels=[*LABELS, "version"])
        build.add_metric([*self._labels, __version__], 1)
        yield build
        yield self._gauge(ACTIVE, "1 while a session is running.", self._active)
        yield self._gauge("bulkcert_run_start_timestamp_seconds", "When the session started.", self._started_at)
        yield self._gauge("bulkcert_updated_timestamp_seconds", "When these metrics were taken.", time.time())
        if self.stats is not None:
            yield from self._rows(self.stats)
            yield from self._calls(self.stats)
            yield from self._pace(self.stats)
        for name, text in _LAST_HELP.items():
            own = {label: value for (metric, label), value in self._last.items() if metric == LAST + name}
            yield self._gauge(LAST + name, text, own, label="outcome" if name == "rows" else "")

    def _rows(self, stats: Stats) -> Iterator[Metric]:
        outcomes = {outcome.value: stats.outcomes_now.get(outcome.value, 0) for outcome in Outcome}
        left = max(0, stats.to_call - sum(outcomes.values()))
        yield self._counter("bulkcert_rows_finished", "Rows that this session has finished.", outcomes, "outcome")
        yield self._gauge("bulkcert_rows_to_call", "Rows that this session calls at most.", stats.to_call)
        yield self._gauge("bulkcert_rows_left", "Rows that it has not finished yet.", left)

    def _calls(self, stats: Stats) -> Iterator[Metric]:
        answers = {NO_CODE: sum(stats.latency_counts) - sum(stats.codes.values()), **stats.codes}
        yield self._counter("bulkcert_calls", "Requests sent, reading ones included.", stats.calls)
        yield self._counter("bulkcert_retries", "Calls beyond the first of a row or page.", stats.retries)
        yield self._counter("bulkcert_throttles", "Answers that said to slow down.", stats.throttles)
        yield self._counter("bulkcert_outages", "How often the service went silent.", stats.outages)
        text = "Calls that ended, by the service's code; Client.... is bulkcert's own, where the service gave none."
        yield self._counter("bulkcert_answers", text, answers, "code")
        text = "Time from sending a call to its answer, or to giving it up."
        histogram = HistogramMetricFamily("bulkcert_call_duration_seconds", text, labels=LABELS)
        bounds = [*map(str, LATENCY_BOUNDS_S), "+Inf"]
        buckets = list(zip(bounds, accumulate(stats.latency_counts), strict=True))
        histogram.add_metric(self._labels, buckets, stats.latency_sum_s)
        yield histogram

    def _pace(self, stats: Stats) -> Iterator[Metric]:
        rate, silent = stats.rate if self._active else 0.0, stats.outage_s > 0
        yield self._gauge("bulkcert_calls_per_second", "Calls sent in the last second.", rate)
        yield self._gauge("bulkcert_calls_in_flight", "Calls that wait for an answer.", stats.in_flight)
        text = "Calls per second that are allowed to the account, to each address, and used of that by each lane."
        yield self._gauge("bulkcert_cap_calls_per_second", text, stats.caps, "scope")
        text = "Share of the cap in use: below 1 while slowed down."
        yield self._gauge("bulkcert_cap_used_ratio", text, stats.factor)
        if lanes := {lane.name: lane for lane in stats.lanes if lane.name}:
            text = "Calls that each lane sent in the last second."
            rates = {name: lane.rate if self._active else 0.0 for name, lane in lanes.items()}
            yield self._gauge("bulkcert_lane_calls_per_second", text, rates, "lane")
            shares = {name: lane.share for name, lane in lanes.items()}
            yield self._gauge("bulkcert_lane_share_calls_per_second", "What each lane may send.", shares, "lane")
            calling = {name: lane.doing == "calling" for name, lane in lanes.items()}
            yield self._gauge("bulkcert_lane_calling", "0 while a lane is silent, gone or refused.", calling, "lane")
            text = "Calls of lanes that fell silent, which others were given and which may be made twice."
            yield self._counter("bulkcert_calls_handed_over", text, stats.handed_over)
        yield self._gauge("bulkcert_outage_ongoing", "1 while the service does not answer at all.", silent)

    def _counter(self, name: str, text: str, values: float | Mapping[str, float], label: str = "") -> Metric:
        return self._gauge(name, text, values, label, CounterMetricFamily)

    def _gauge(
        self,
        name: str,
        text: str,
        values: float | Mapping[str, float],
        label: str = "",
        kind: type[CounterMetricFamily | GaugeMetricFamily] = GaugeMetricFamily,
    ) -> Metric:
        """Returns a metric: one value, or one for each value of its own label."""
        family = kind(name, text, labels=[*LABELS, label] if label else LABELS)
        for own, value in (values if isinstance(values, Mapping) else {"": values}).items():
            family.add_metric([*self._labels, own] if label else self._labels, value)
        return family


_LAST_HELP = {
    "end_timestamp_seconds": "When the last run ended, however it did.",
    "duration_seconds": "How long its last session took.",
    "exit_status": "Its exit status.",
    "success_timestamp_seconds": "When a run last ended with exit status 0.",
    "rows": "Rows of its run by outcome, as its store has them; none where it has no run.",
}

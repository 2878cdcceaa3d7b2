"""The snapshot: what a session does right now, in a small file beside the results, for ``bulkcert status``.

It is there while a session goes on; one that is left behind tells what a session did until it was killed.
"""

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from bulkcert.batch.durable import replace_file
from bulkcert.batch.last_errors import LastError

VERSION = 1
"""Of the format; a snapshot of another version is not read."""

WRITING = "writing results"
"""Phase of a session that has called what it calls; nothing is written to its snapshot from then on."""

EVERY_S = 1.0
"""How often it is written, in seconds."""


class LaneState(msgspec.Struct, frozen=True):
    """What one source address does: calls per second since the last snapshot, and calls that wait for an answer."""

    address: str
    rate: float
    in_flight: int


class Facts(msgspec.Struct, frozen=True):
    """What does not change while a session goes on.

    Attributes:
        action: Name of the action.
        instance: ``MqttInstanceId``.
        endpoint: Where the service is.
        input: The input file.
        results: The results file.
        directory: Where the command was started; paths and ``command`` count from there.
        command: What goes on with the run, for a shell; empty where nothing does, as after a rehearsal.
        pid: Process of the session.
        host: Machine that it is on.
        started: UTC, when it began to call.
        rows: Rows of the input.
        to_call: Rows that this session calls at most.
        cap: Calls per second that all lanes make together, at most.
    """

    action: str
    instance: str
    endpoint: str
    input: str
    results: str
    directory: str
    command: str
    pid: int
    host: str
    started: datetime
    rows: int
    to_call: int
    cap: float


class Snapshot(msgspec.Struct, frozen=True):
    """What a session does.

    Attributes:
        version: Of the format.
        session: What does not change.
        now: UTC, when this was written.
        phase: ``looking``, ``calling``, ``stopping``, ``verifying`` or ``writing results``.
        done: Rows whose outcome is settled and on disk, those of earlier sessions included; with a verification, rows
            that it has called again.
        done_now: Rows that this session has settled.
        outcomes: Settled rows by outcome, over the whole run.
        calls: Requests sent by this session.
        rate: Sends in the last second.
        factor: Share of the cap that may be used after throttling, from 0 to 1.
        paused_s: For how long nothing is sent, in seconds.
        in_flight: Calls that wait for an answer.
        lanes: Each source address.
        pages: Pages of certificates read.
        reads: Certificates read one by one.
        retries: Calls beyond the first of a row.
        throttles: Answers that said to slow down.
        outage_s: For how long the service has been silent, in seconds; 0 without an outage.
        outages: How often it was.
        waiting_for: What keeps the session from going faster.
        left_s: Time left, in seconds; null where it cannot be told.
        errors: The newest errors, one for each code, the latest first.
        stop: Why the session ends early, or an empty text.
    """

    version: int
    session: Facts
    now: datetime
    phase: str
    done: int
    done_now: int
    outcomes: dict[str, int]
    calls: int
    rate: float
    factor: float
    paused_s: float
    in_flight: int
    lanes: list[LaneState]
    pages: int
    reads: int
    retries: int
    throttles: int
    outage_s: float
    outages: int
    waiting_for: str
    left_s: float | None
    errors: list[LastError]
    stop: str

    @property
    def age_s(self) -> float:
        """Seconds since it was written."""
        return (datetime.now(UTC) - self.now).total_seconds()


_decode = msgspec.json.Decoder(Snapshot).decode


def path_of(results: Path) -> Path:
    """Returns where the snapshot of a run is, beside its results."""
    return results.with_name(results.name + ".status.json")


def write(snapshot: Snapshot, results: Path) -> None:
    """Puts a snapshot in the place of the last one; where the disk refuses, the last one stays.

    It is not synced: what it tells is worth nothing after a power failure, and a sync may take long.
    """
    path = path_of(results)
    with suppress(OSError):
        replace_file(path, msgspec.json.encode(snapshot) + b"\n", path.with_name(path.name + ".part"), durable=False)


def remove(results: Path) -> None:
    """Removes the snapshot of a run, if there is one."""
    path = path_of(results)
    for stale in (path, path.with_name(path.name + ".part")):
        with suppress(OSError):
            stale.unlink()


def read(results: Path) -> Snapshot | None:
    """Returns the snapshot of a run; None if there is none, or none that this version can read."""
    try:
        snapshot = _decode(path_of(results).read_bytes())
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    return snapshot if snapshot.version == VERSION else None

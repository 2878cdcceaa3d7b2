"""Lanes on several machines, before a run calls: where each calls from, and what it signs with."""

import time
from collections.abc import Iterator, Sequence

from bulkcert.engine.figures import LaneState
from bulkcert.engine.progress import Progress
from bulkcert.language import later, tr


def named_lanes(progress: Progress) -> list[LaneState]:
    """Returns the lanes that have a name: those of several machines."""
    return [state for lane in progress.lanes if (state := lane.state(time.monotonic())).name]


def lane_rows(lanes: Sequence[LaneState]) -> Iterator[tuple[str, str]]:
    """Yields names and values that show such lanes, for people; nothing of one machine."""
    said = later("{lane} (egress {egress}): {key} from {source}")
    for number, lane in enumerate(lanes):
        signed = {"key": lane.key, "source": tr(lane.source)}
        yield "" if number else tr("lanes"), tr(said, lane=lane.name, egress=lane.egress, **signed)
    if len({lane.egress for lane in lanes}) > 1:
        yield "", tr("that the service sees each egress as an address of its own is your promise")

"""Lists whose columns are swapped: found out by trying a few rows the other way round."""

import shlex
from collections.abc import Iterator, Sequence

import anyio.to_thread

from bulkcert.engine.lanes import Lanes
from bulkcert.engine.progress import Stop
from bulkcert.engine.sightings import NUMBER_OF, Sightings
from bulkcert.errors import ExitStatus
from bulkcert.input import PinnedList
from bulkcert.language import tr
from bulkcert.service.actions import Action
from bulkcert.service.certificates import Status
from bulkcert.store.outcome import Row

SWAPS_TRIED = 5
"""Rows that are tried the other way round; more than one, since some may not be registered."""


async def are_swapped(lanes: Lanes, action: Action, sightings: Sightings, batches: Iterator[Sequence[Row]]) -> bool:
    """Returns whether the columns of a list of devices are swapped: a few rows are tried where none was seen.

    Args:
        lanes: Where calls go through.
        action: What is asked for each row.
        sightings: What was seen of the rows; where a device was, no calls are made.
        batches: The rows.
    """
    if not action.by_device or any(
        sightings.statuses.count(NUMBER_OF[each]) for each in (Status.ACTIVE, Status.INACTIVE)
    ):
        return False
    first = await anyio.to_thread.run_sync(next, batches, ())
    for row in first[:SWAPS_TRIED]:
        swapped = lanes.service.parameters(action, row) | {"CaSn": row.device_sn, "DeviceSn": row.ca_sn}
        settled = await lanes.settle(lanes.lanes[0], action.reading, swapped)
        if settled is None or settled.answer.page is not None:
            return settled is not None
    return False


def on_swapped(pinned: PinnedList) -> Stop:
    """Returns why a list is not called whose columns are swapped, with the options that read it right."""
    right = shlex.join(["--device-column", pinned.ca_column, "--ca-column", pinned.device_column or ""])
    said = tr("the columns are swapped: devices of the list are registered the other way round")
    return Stop(ExitStatus.INPUT_INVALID, said, tr("to read them right, give {options}", options=right))

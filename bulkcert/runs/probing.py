"""What is tried before anything is changed: each instance is asked for, and a few rows with their columns swapped."""

import shlex
from collections.abc import Iterator, Sequence

import anyio
import anyio.to_thread

from bulkcert.engine.failures import Stop
from bulkcert.engine.lanes import Lanes
from bulkcert.engine.sightings import NUMBER_OF, Sightings
from bulkcert.errors import ExitStatus
from bulkcert.input import PinnedList
from bulkcert.output.advice import Remedy
from bulkcert.service.actions import OPERATIONS, Action, Status
from bulkcert.store.outcome import Row
from bulkcert.words import tr

SWAPS_TRIED = 5
"""Rows that are tried the other way round; more than one, since some may not be registered."""

_LISTING = OPERATIONS["ListCaCertificate"]
"""What is called: it needs no serial."""


async def ask_instances(lanes: Lanes) -> dict[str, bool | None]:
    """Asks for each instance; one that is refused, or does not answer, stops the lanes.

    Args:
        lanes: Where calls go through, to a service that has several instances; else there are no calls.

    Returns:
        Whether each is this account's; None where it may not be read.
    """
    service, known = lanes.service, dict[str, bool | None]()
    limiter = anyio.CapacityLimiter(service.workers)

    async def ask(number: int, instance: str) -> None:
        async with limiter:
            lane = lanes.lanes[number % len(lanes.lanes)]
            result = None if lanes.stopping.is_set() else await lanes.settle(lane, _LISTING, _first_of(instance))
        if result is not None:
            known[instance] = True if result.answer.page is not None else None
            if not result.final and not lanes.stopping.is_set():
                said = f"{instance} at {service.instances[instance]}: {result.answer.code}: {result.answer.message}"
                lanes.stop(Stop(ExitStatus.UNAVAILABLE, said, Remedy.UNANSWERED.value))

    async with anyio.create_task_group() as group:
        for number, instance in enumerate(service.instances):
            group.start_soon(ask, number, instance)
    return {instance: known.get(instance) for instance in service.instances}


async def ask_anything(lanes: Lanes) -> None:
    """Asks for one CA: a key, an instance or an endpoint that is refused, or does not answer, stops the lanes."""
    instance = next(iter(lanes.service.instances), lanes.service.instance)
    await lanes.settle(lanes.lanes[0], _LISTING, _first_of(instance))


def _first_of(instance: str) -> dict[str, str]:
    return {"MqttInstanceId": instance, "PageNo": "1", "PageSize": "1"}


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

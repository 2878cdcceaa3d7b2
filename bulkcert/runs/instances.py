"""The instances of a list that names several: each is asked for before anything is changed on any of them."""

import anyio

from bulkcert.engine.lanes import Lanes
from bulkcert.engine.progress import Stop
from bulkcert.errors import ExitStatus
from bulkcert.output.advice import Remedy
from bulkcert.service.operations import OPERATIONS

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

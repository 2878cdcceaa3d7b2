"""The event loop of all that calls the service."""

from asyncio import AbstractEventLoop
from collections.abc import Callable


def uvloop_or_none() -> Callable[[], AbstractEventLoop] | None:
    """Returns what makes an event loop at half the price, where it can be imported; asyncio's does otherwise."""
    try:
        import uvloop  # noqa: PLC0415 - not everywhere
    except ImportError:
        return None
    return uvloop.new_event_loop

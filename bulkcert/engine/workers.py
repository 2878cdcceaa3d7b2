"""Rows to workers: read off the loop, handed to whichever lane has a worker free, until done or stopped."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress

import anyio
import anyio.to_thread
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from bulkcert.engine.lanes import Lane, Lanes
from bulkcert.engine.progress import Stop
from bulkcert.errors import BulkcertError
from bulkcert.store.outcome import Row

BUFFERED_ROWS = 128
"""Rows that wait for a worker: enough for the time that the next ones take to be read."""

Work = Callable[[Lane, Row], Awaitable[None]]
"""What is done with one row."""


async def each_row(lanes: Lanes, workers: int, batches: Iterator[list[Row]], work: Work) -> None:
    """Does something with each row, many at a time; returns after the last, or on a stop.

    Args:
        lanes: What the rows are shared out to; an input that cannot be read stops them.
        workers: Rows that each lane works on at a time.
        batches: The rows, in order; read in a worker thread.
        work: What is done.
    """
    send, receive = anyio.create_memory_object_stream[Row](BUFFERED_ROWS)
    async with anyio.create_task_group() as group, receive:
        group.start_soon(_feed_until_stop, lanes, batches, send)
        for lane in lanes.lanes:
            for _ in range(workers):
                group.start_soon(_work, lanes, lane, receive.clone(), work)


async def _feed_until_stop(lanes: Lanes, batches: Iterator[list[Row]], send: MemoryObjectSendStream[Row]) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(_cancel_on_stop, lanes, group.cancel_scope)
        await _feed(lanes, batches, send)
        group.cancel_scope.cancel()


async def _cancel_on_stop(lanes: Lanes, scope: anyio.CancelScope) -> None:
    await lanes.stopping.wait()
    scope.cancel()


async def _feed(lanes: Lanes, batches: Iterator[list[Row]], send: MemoryObjectSendStream[Row]) -> None:
    # On a stop the workers may be gone before this hears of it.
    with suppress(anyio.BrokenResourceError):
        async with send:
            while (batch := await _next(lanes, batches)) is not None:
                for row in batch:
                    try:
                        send.send_nowait(row)
                    except anyio.WouldBlock:
                        await send.send(row)


async def _next(lanes: Lanes, batches: Iterator[list[Row]]) -> list[Row] | None:
    """Returns the next batch; None after the last one, or if the input fails, which stops the run."""
    try:
        return await anyio.to_thread.run_sync(next, batches, None)
    except BulkcertError as error:
        lanes.stop(Stop(error.status, error.message, error.advice))
        return None


async def _work(lanes: Lanes, lane: Lane, receive: MemoryObjectReceiveStream[Row], work: Work) -> None:
    with receive:
        while not lanes.stopping.is_set():
            try:
                row = receive.receive_nowait()
            except anyio.WouldBlock:
                try:
                    row = await receive.receive()
                except anyio.EndOfStream:
                    return
            except anyio.EndOfStream:
                return
            await work(lane, row)

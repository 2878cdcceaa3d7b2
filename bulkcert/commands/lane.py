"""``bulkcert lane``: calls for runs whose coordinator is elsewhere."""

import asyncio
import signal
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import anyio
from rich.text import Text

from bulkcert.engine.session import fetch_credentials, unwrapped, uvloop_or_none
from bulkcert.errors import ExitStatus, end_on_signals, on_end_of_input, stop_signals
from bulkcert.fleet.keys import lane_keys
from bulkcert.fleet.lane import LaneAddress, default_egress, serve
from bulkcert.fleet.network import Where, load
from bulkcert.log import event, is_json
from bulkcert.runs.cluster import resolve_where
from bulkcert.runs.other_options import LaneOptions
from bulkcert.runs.target import cannot_send_from, refuse
from bulkcert.service.credentials import ChainCredentials, CredentialProvider
from bulkcert.views import console as terminal
from bulkcert.views.errors import leave


def lane(where: str, options: LaneOptions) -> ExitStatus:
    """Waits for coordinators there and calls for them, one after another, until a signal ends it."""
    problems: list[str] = []
    coordinator = resolve_where("the coordinator", where, options.keys, problems)
    if options.source_address and (reason := cannot_send_from(options.source_address)):
        problems.append(f"--source-address {options.source_address}: {reason}")
    refuse(problems, "lane")
    assert coordinator is not None  # noqa: S101 - there are no problems
    load()
    terminal.show_log(verbose=False, quiet=False, file=None)
    with ExitStack() as open_:
        keys = None if options.keys is None else open_.enter_context(lane_keys(options.keys))
        provider = ChainCredentials()
        with unwrapped():
            anyio.run(fetch_credentials, provider)
        end_on_signals()
        address = options.source_address or None
        name = options.name or (keys.stem if keys else f"lane-{address or 'any'}")
        here = LaneAddress(name, address, options.egress or default_egress(address))
        _say(f"{name}: egress {here.egress}, access key {provider.current.access_key_id}")
        serving = partial(_serve, coordinator, keys, here, provider, exit_on_eof=options.exit_on_eof)
        with unwrapped():
            anyio.run(serving, backend_options={"loop_factory": uvloop_or_none()})
    return ExitStatus.OK


async def _serve(
    where: Where, keys: Path | None, here: LaneAddress, provider: CredentialProvider, *, exit_on_eof: bool
) -> None:
    """Serves coordinators until a signal comes, or standard input ends; a second signal ends the process at once."""
    ends, is_ending = asyncio.Event(), False

    async def obey() -> None:
        nonlocal is_ending
        with anyio.open_signal_receiver(*stop_signals()) as signals:
            async for number in signals:
                if is_ending:
                    lost = "The coordinator gives the calls that it held to other lanes."
                    leave(number, "left at once", lost)
                is_ending = True
                _say(f"{signal.Signals(number).name} received: finishing the calls in flight")
                ends.set()

    if exit_on_eof:
        on_end_of_input(partial(asyncio.get_running_loop().call_soon_threadsafe, ends.set))
    async with anyio.create_task_group() as group:
        group.start_soon(obey)
        await serve(where, keys, here, provider, show=_say, ends=ends)
        group.cancel_scope.cancel()


def _say(words: str) -> None:
    if is_json():
        event("lane", words)
    else:
        terminal.stderr.print(Text(words))

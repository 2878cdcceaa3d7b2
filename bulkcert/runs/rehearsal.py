"""A rehearsal: the very same run, against an emulator in a process of its own, from loopback addresses.

It cannot reach the service: every lane is bound to a loopback address, from which no packet leaves the machine.
"""

import random
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from bulkcert.emulator.faults import DEFAULT_FAULTS
from bulkcert.emulator.process import Running, running
from bulkcert.emulator.settings import CREDENTIALS, Settings
from bulkcert.errors import BulkcertError, ExitStatus, temporary
from bulkcert.input import PinnedList
from bulkcert.output.formats import suffix_of
from bulkcert.runs.converters import carried
from bulkcert.runs.job import ResolvedJob, resolve
from bulkcert.runs.options import Options
from bulkcert.runs.other_options import Stage
from bulkcert.runs.reading_list import pin
from bulkcert.runs.target import cannot_send_from, confirm_region, located
from bulkcert.service.actions import ACTIONS, Action, ActionName
from bulkcert.service.credentials import without_credentials
from bulkcert.store.paths import default_results

INSTANCE = "post-cn-rehearsal"
"""Instance of a rehearsal whose job names none."""

MOST_LANES = 64

COMMAND = (sys.executable, "-m", "bulkcert", "lane")


@contextmanager
def staged(
    action: ActionName, inputs: tuple[Path, ...], options: Options, stage: Stage
) -> Iterator[tuple[ResolvedJob, Running, int | None]]:
    """Starts the emulator of a rehearsal, filled from the list, and stops it in the end.

    Args:
        action: What is rehearsed.
        inputs: The list.
        options: Those of the run; where to send to and from, and where results go, are the rehearsal's own.
        stage: What the emulator is like.

    Yields:
        The job, turned towards the emulator; the emulator, which listens; the seed of its faults, None without any.

    Raises:
        BulkcertError: An option or the list is wrong, or the emulator does not start.
    """
    _check(ACTIONS[action], options, stage)
    results = options.results or default_results(inputs[0], action)
    end = len(results.name) - len(suffix_of(results) or results.suffix)
    results = results.with_name(f"{results.name[:end]}.rehearsal{results.name[end:]}")
    lanes = stage.cluster_lanes
    addresses = loopback_addresses(lanes + 1 if lanes else max(2, len(options.source_address)))
    rehearsed = replace(
        options,
        region="",
        vpc=False,
        endpoint="http://127.0.0.1",
        source_address=addresses[lanes:],
        results=results,
        # What watches the real runs must not take a rehearsal for one.
        metrics_file=results.with_suffix(".prom") if options.metrics_file else None,
        overwrite=True,
        yes=True,
        confirm_devices=None,
        retry=(),
    )
    how: dict[str, Any] = {"command": "rehearse", "rehearsal": True}
    job = resolve(action, inputs, rehearsed, **how)
    seed = None
    if stage.faults or stage.fault_seed is not None:
        seed = random.randrange(2**32) if stage.fault_seed is None else stage.fault_seed
    # Read once, as a pipe can be; the emulator is filled from what was pinned.
    with temporary(tempfile.TemporaryDirectory) as folder:
        pinned = Path(folder) / "input.parquet"
        listed, check = pin(job, pinned)
        job = located(job, check, vpc=False)
        instances = (*job.instances,) or (job.instance or INSTANCE,)
        if len(instances) == 1:
            rehearsed = replace(rehearsed, instance=instances[0])
        arguments = _emulator_arguments(action, listed, rehearsed, stage, seed, instances=instances)
        with running(*arguments) as emulator:
            options = replace(rehearsed, endpoint=emulator.url)
            with lanes_of(addresses[:lanes], Path(folder)) as cluster:
                job = resolve(action, inputs, replace(options, **cluster), **how, source=(pinned,))
                yield job, emulator, seed


def _check(action: Action, options: Options, stage: Stage) -> None:
    """Refuses what cannot be rehearsed, and a region that the real run would refuse."""
    if "undo" in stage.and_then and action.inverse is None:
        message = f"--and-then undo cannot follow {action.name}: no operation undoes it"
        raise BulkcertError(ExitStatus.USAGE, message)
    if options.cluster:
        raise BulkcertError(ExitStatus.USAGE, "a rehearsal has lanes of its own: use --cluster-lanes, not --cluster")
    if not 0 <= stage.cluster_lanes <= MOST_LANES:
        message = f"--cluster-lanes must be from 0 to {MOST_LANES}, not {stage.cluster_lanes}"
        raise BulkcertError(ExitStatus.USAGE, message)
    carried(Settings, stage).check()
    if options.region and not options.endpoint:
        confirm_region(options.region)


def loopback_addresses(wanted: int) -> tuple[str, ...]:
    """Returns so many loopback addresses to send from, or just one where the system has no more."""
    addresses = [f"127.0.{number // 250}.{number % 250 + 2}" for number in range(wanted)]
    return tuple(addresses) if not any(map(cannot_send_from, addresses)) else ("127.0.0.1",)


def _emulator_arguments(
    action: ActionName,
    listed: PinnedList,
    options: Options,
    stage: Stage,
    fault_seed: int | None,
    *,
    instances: Sequence[str],
) -> list[str]:
    low, high = stage.latency_ms
    arguments = [
        *(f"--instance={instance}" for instance in instances),
        f"--seed-instance-column={listed.instance_column or ''}",
        f"--seed-from={listed.path.resolve()}",
        f"--seed-for={action}",
        f"--seed-device-column={options.device_column}",
        f"--seed-ca-column={options.ca_column}",
        f"--unregistered={stage.unregistered}",
        f"--already={stage.already}",
        f"--connecting={stage.connecting}",
        f"--latency-ms={low}",
        str(high),
        f"--status-table={stage.status_table}",
    ]
    if fault_seed is not None:
        faults = (f"--fault={name}={share}" for name, share in DEFAULT_FAULTS.items())
        arguments += [f"--fault-seed={fault_seed}", *faults]
    return arguments


@contextmanager
def lanes_of(addresses: tuple[str, ...], folder: Path) -> Iterator[dict[str, Any]]:
    """Runs a lane for each address, if any, for as long as the context lasts; its keys are in the folder.

    Yields:
        The options that let a run share its calls with them.
    """
    if not addresses:
        yield {}
        return
    from bulkcert.fleet.keys import make_keys  # noqa: PLC0415 - for several machines alone
    from bulkcert.fleet.network import load  # noqa: PLC0415

    load()
    with socket.create_server(("127.0.0.1", 0)) as probe:  # a port that is free
        url = f"tls://127.0.0.1:{probe.getsockname()[1]}"
    keys = folder / "keys"
    make_keys(keys, len(addresses), days=1)
    own = {
        "ALIBABA_CLOUD_ACCESS_KEY_ID": CREDENTIALS.access_key_id,
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET": CREDENTIALS.access_key_secret,
    }
    with ExitStack() as children:
        for address in addresses:
            command = [*COMMAND, url, "--keys", str(keys), "--source-address", address, "--exit-on-eof"]
            child = children.enter_context(
                subprocess.Popen(  # noqa: S603 - our own program
                    command,
                    # If this process dies, the pipe ends, and so does the lane.
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=without_credentials() | own,
                    process_group=0,
                )
            )
            children.callback(child.kill)
        yield {"cluster": url, "keys": keys, "lanes": len(addresses)}

"""Lanes of a rehearsal: processes of their own on loopback addresses, as on other machines."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bulkcert.emulator.settings import CREDENTIALS
from bulkcert.service.credentials import without_credentials

MOST_LANES = 64

COMMAND = (sys.executable, "-m", "bulkcert", "lane")


@contextmanager
def lanes_of(addresses: tuple[str, ...], folder: Path) -> Iterator[dict[str, Any]]:
    """Runs a lane for each address for as long as the context lasts.

    Args:
        addresses: Where they send from; none for a run without a cluster.
        folder: Where keys go.

    Yields:
        The options that let a run share its calls with them.
    """
    if not addresses:
        yield {}
        return
    from bulkcert.fleet.keys import make_keys  # noqa: PLC0415 - for several machines alone
    from bulkcert.runs.cluster import confirm_installed  # noqa: PLC0415

    confirm_installed()
    keys, url = folder / "keys", f"tls://127.0.0.1:{_free_port()}"
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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

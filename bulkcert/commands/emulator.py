"""``bulkcert emulator``: the service's double, serving until stopped."""

import sys

import msgspec

from bulkcert.emulator.server import serve
from bulkcert.emulator.settings import Settings
from bulkcert.errors import ExitStatus


def emulator(
    *,
    settings: Settings = Settings(),  # noqa: B008 - frozen
) -> ExitStatus:
    """Serves a local emulator on loopback until it is stopped; accepts testAccessKeyId / testAccessKeySecret."""

    def announce(url: str) -> None:
        machine = msgspec.json.encode({"url": url}).decode()
        sys.stdout.write(f"{machine if settings.json else f'listening on {url}; Ctrl-C stops it'}\n")
        sys.stdout.flush()

    serve(settings, announce)
    return ExitStatus.OK

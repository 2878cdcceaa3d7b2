"""``bulkcert emulator``: a local emulator of the service, until it is stopped."""

from bulkcert.emulator.server import serve
from bulkcert.emulator.settings import Settings
from bulkcert.errors import ExitStatus


def emulator(settings: Settings) -> ExitStatus:
    """Serves the emulator, and prints its URL once it listens."""
    said = '{{"url":"{}"}}' if settings.json else "listening on {}; Ctrl-C stops it"
    serve(settings, lambda url: print(said.format(url), flush=True))  # noqa: T201 - the product
    return ExitStatus.OK

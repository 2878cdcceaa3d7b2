"""``bulkcert emulator``: a local emulator of the service, until it is stopped."""

from bulkcert.emulator.server import serve
from bulkcert.emulator.settings import Settings
from bulkcert.errors import ExitStatus


def emulator(settings: Settings) -> ExitStatus:
    """Serves the emulator, and prints its URL once it listens."""
    has = f"it has {', '.join(settings.instances)}"
    said = '{{"url":"{}"}}' if settings.json else f"listening on {{}}; {has}; Ctrl-C stops it"
    serve(settings, lambda url: print(said.format(url), flush=True))  # noqa: T201 - the product
    return ExitStatus.OK

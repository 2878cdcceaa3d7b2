"""``bulkcert emulator``: a local emulator of the service, until it is stopped."""

from bulkcert.emulator.server import serve
from bulkcert.emulator.settings import Settings
from bulkcert.errors import ExitStatus


def emulator(settings: Settings) -> ExitStatus:
    """Serves the emulator, and prints its URL once it listens."""

    def listening(url: str) -> None:
        said = f"listening on {url}; it has {', '.join(settings.instances)}; Ctrl-C stops it"
        print(f'{{"url":"{url}"}}' if settings.json else said, flush=True)  # noqa: T201 - the product

    serve(settings, listening)
    return ExitStatus.OK

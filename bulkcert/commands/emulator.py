"""``bulkcert emulator``: a local emulator of the service, until it is stopped."""

from bulkcert.emulator.server import serve
from bulkcert.emulator.settings import Settings
from bulkcert.errors import ExitStatus


def emulator(settings: Settings) -> ExitStatus:
    """Serves the emulator, and prints its URL once it listens."""

    def show(url: str) -> None:
        has = ", ".join(settings.instances)
        said = f'{{"url":"{url}"}}' if settings.json else f"listening on {url}; it has {has}; Ctrl-C stops it"
        print(said, flush=True)  # noqa: T201 - the product

    serve(settings, show)
    return ExitStatus.OK

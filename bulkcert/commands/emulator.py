"""``bulkcert emulator``: the service's double, serving until stopped."""

from bulkcert.emulator.server import serve
from bulkcert.emulator.settings import Settings
from bulkcert.errors import ExitStatus


def emulator(
    *,
    settings: Settings = Settings(),  # noqa: B008 - frozen
) -> ExitStatus:
    """Serves a local emulator on loopback until it is stopped; accepts testAccessKeyId / testAccessKeySecret."""
    serve(settings)
    return ExitStatus.OK

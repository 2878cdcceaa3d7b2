"""``bulkcert emulator``: the service's double, serving until stopped."""

from bulkcert.emulator.options import EmulatorOptions
from bulkcert.emulator.server import serve
from bulkcert.errors import ExitStatus


def emulator(
    *,
    settings: EmulatorOptions = EmulatorOptions(),  # noqa: B008 - frozen
) -> ExitStatus:
    """Serves a local emulator on loopback until it is stopped; accepts testAccessKeyId / testAccessKeySecret."""
    serve(settings.settings(), seed=settings.seed(), on_ready=settings.announce)
    return ExitStatus.OK

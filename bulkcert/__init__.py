"""Switches very many device certificates of ApsaraMQ for MQTT off or on.

``Job``, ``plan``, ``run``, ``verify``, ``undo``, ``resume`` and ``results`` are the Python API, which ``bulkcert help
python`` explains. They are loaded when they are first used: a command does not need all that they need.
"""

TYPE_CHECKING = False
"""As checkers take it, without loading what has it: that is a fifth of what ``--version`` costs."""

if TYPE_CHECKING:
    from bulkcert.api.functions import plan, results, resume, run, undo, verify
    from bulkcert.api.job import Job
    from bulkcert.errors import BulkcertError, ExitStatus
    from bulkcert.service.signing import Credentials

__version__ = "0.1.0"

__all__ = [
    "BulkcertError",
    "Credentials",
    "ExitStatus",
    "Job",
    "plan",
    "results",
    "resume",
    "run",
    "undo",
    "verify",
]

_ELSEWHERE = {"BulkcertError": "errors", "Credentials": "service.signing", "ExitStatus": "errors", "Job": "api.job"}


if not TYPE_CHECKING:  # a checker would take any name to be there

    def __getattr__(name):  # noqa: ANN001, ANN202 - nobody checks it
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module  # noqa: PLC0415 - for the API alone

        found = getattr(import_module(f"bulkcert.{_ELSEWHERE.get(name, 'api.functions')}"), name)
        return globals().setdefault(name, found)

    def __dir__():  # noqa: ANN202
        return sorted({*globals(), *__all__})

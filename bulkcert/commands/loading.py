"""How a command gets what it needs: only when it is called, since loading takes longer than most answers."""

import gc
from importlib import import_module
from typing import Any

from bulkcert.runs.options import ServiceOptions
from bulkcert.views.console import show_log

GARBAGE_AFTER = 50_000
"""Objects after which garbage is looked for. Calls that wait by the thousand are none, and looking through them at each
700, as is the default, is a third of what a row costs that another machine calls."""


def loaded(module: str) -> Any:
    """Loads what a command needs; from then on garbage is collected, and not looked for among what was loaded."""
    found = import_module(f"bulkcert.{module}")
    gc.freeze()
    gc.set_threshold(GARBAGE_AFTER)
    gc.enable()
    return found


def do(command: str, *arguments: object, **options: object) -> int:
    """Loads the module of a command, and calls its function of the same name; its log begins before that."""
    for asked in (*arguments, *options.values()):
        if isinstance(asked, ServiceOptions):
            show_log(verbose=asked.verbose, quiet=asked.quiet, file=asked.log_file)
    return int(getattr(loaded(f"commands.{command}"), command)(*arguments, **options))

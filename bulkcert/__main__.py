"""The entry point of the command ``bulkcert`` and of ``python -m bulkcert``."""

import os
import sys
from importlib.metadata import version

from bulkcert.commands import overview

# polars' allocator gives memory back soon, not after ten seconds: the passes over a long list do not add up.
os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:20,muzzy_decay_ms:0")


def _answered() -> bool:
    """Answers what needs nothing to be loaded; what is amiss with standard output is left to the rest."""
    match sys.argv[1:]:
        case ["--version" | "-V" | "version"]:
            answer = f"{version('bulkcert')}\n"
        case [] | ["--help" | "-h"]:
            answer = overview()
        case _:
            return False
    if sys.stdout is None:
        return False
    try:
        sys.stdout.write(answer)
        sys.stdout.flush()
    except OSError:
        return False
    return True


def main() -> None:
    """Runs the command; Ctrl-C ends it without a traceback even while it is still being loaded."""
    try:
        if _answered():
            return
        from bulkcert.cli import main as launch  # noqa: PLC0415 - takes a while, see above
    except KeyboardInterrupt:
        sys.exit(130)
    launch()


if __name__ == "__main__":
    main()

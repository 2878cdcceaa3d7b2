"""The entry point of the command ``bulkcert`` and of ``python -m bulkcert``."""

import gc
import os
import sys
from contextlib import suppress

from bulkcert import __version__
from bulkcert.commands import OVERVIEW, versions

# polars' allocator gives memory back soon, not after ten seconds: the passes over a long list do not add up.
os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:20,muzzy_decay_ms:0")
# polars removes what it takes for leavings of its own below /var/tmp, under a name that anybody can make a link.
os.environ.setdefault("POLARS_OOC_SPILL_DIR", "/dev/null/none")


# Loading makes a hundred thousand objects that stay: looking for garbage among them is a tenth of what a start costs.
gc.disable()


def _is_written(text: str) -> bool:
    """Returns whether standard output has taken a text; the whole command says why it does not."""
    with suppress(OSError, AttributeError):
        sys.stdout.write(text)
        sys.stdout.flush()
        return True
    return False


def main() -> None:
    """Runs the command; Ctrl-C ends it without a traceback even while it is still being loaded."""
    try:
        match sys.argv[1:]:
            case ["--version" | "-V" | "version", *verbose] if verbose in ([], ["-v"], ["--verbose"]):
                print(__version__)  # noqa: T201 - the answer
                for name, value in versions().items() if verbose else ():
                    print(f"{name:<26}{value}")  # noqa: T201
                return
            case [] | ["--help" | "-h"] if _is_written(OVERVIEW):
                return
        from bulkcert.cli import main as launch  # noqa: PLC0415 - takes a while
    except KeyboardInterrupt:
        sys.exit(130)
    launch()


if __name__ == "__main__":
    main()

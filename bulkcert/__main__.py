"""The entry point of the command ``bulkcert`` and of ``python -m bulkcert``."""

import gc
import os
import re
import sys
from contextlib import suppress

from bulkcert import __version__
from bulkcert.commands import OVERVIEW

# polars' allocator gives memory back soon, not after ten seconds: the passes over a long list do not add up.
os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:20,muzzy_decay_ms:0")


# Loading makes a hundred thousand objects that stay: looking for garbage among them is a tenth of what a start costs.
gc.disable()


def versions() -> str:
    """Returns what a report of a fault should say: versions of Python, of the event loop, and of each library."""
    import platform  # noqa: PLC0415 - for -v alone
    from importlib.metadata import requires, version  # noqa: PLC0415

    libraries = [line for line in requires("bulkcert") or () if "extra ==" not in line]
    names = [re.split(r"[^\w-]", line)[0] for line in libraries if not line.startswith("uvloop")]
    try:
        import uvloop  # noqa: F401, PLC0415 - not everywhere

        loop = f"uvloop {version('uvloop')}"
    except ImportError as error:
        loop = f"asyncio, since there is no uvloop: {error}"
    lines = {"python": platform.python_version(), "loop": loop, **{name: version(name) for name in names}}
    return "".join(f"{name:<26}{value}\n" for name, value in lines.items())


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
                print(versions() if verbose else "", end="")  # noqa: T201
                return
            case [] | ["--help" | "-h"] if _is_written(OVERVIEW):
                return
        from bulkcert.cli import main as launch  # noqa: PLC0415 - takes a while
    except KeyboardInterrupt:
        sys.exit(130)
    launch()


if __name__ == "__main__":
    main()

"""The entry point of the command ``bulkcert`` and of ``python -m bulkcert``."""

import os
import sys

# polars' allocator gives memory back soon, not after ten seconds: the passes over a long list do not add up.
os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:20,muzzy_decay_ms:0")


def main() -> None:
    """Runs the command; Ctrl-C ends it without a traceback even while it is still being loaded."""
    try:
        from bulkcert.cli import main as launch  # noqa: PLC0415 - takes a while, see above
    except KeyboardInterrupt:
        sys.exit(130)
    launch()


if __name__ == "__main__":
    main()

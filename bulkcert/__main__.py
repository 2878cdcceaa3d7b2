"""The entry point of the command ``bulkcert`` and of ``python -m bulkcert``."""

import gc
import os
import sys
from contextlib import suppress

from bulkcert.commands import shown_at_once

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
        if (shown := shown_at_once(sys.argv[1:])) and _is_written(shown):
            return
        from bulkcert.cli import main as launch  # noqa: PLC0415 - takes a while
    except KeyboardInterrupt:
        sys.exit(130)
    launch()


if __name__ == "__main__":
    main()

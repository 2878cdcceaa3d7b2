"""The entry point of the command ``bulkcert`` and of ``python -m bulkcert``."""

import sys


def main() -> None:
    """Runs the command; Ctrl-C ends it without a traceback even while it is still being loaded."""
    try:
        from bulkcert.cli import main as launch  # noqa: PLC0415 - takes a while, see above
    except KeyboardInterrupt:
        sys.exit(130)
    launch()


if __name__ == "__main__":
    main()

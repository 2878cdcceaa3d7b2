"""Parquet files: proved by a child process, since the reader may panic or abort over a damaged one; then read here."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.input.parquet_child import frames
from bulkcert.input.records import Part
from bulkcert.service.credentials import without_credentials

_CHILD = Path(__file__).with_name("parquet_child.py")


def read_parquet(path: Path, name: str) -> Iterator[Part]:
    """Yields the rows of a Parquet file, which messages call by the name, in order, in at least one part.

    Raises:
        BulkcertError: INPUT_UNREADABLE: it is not Parquet, or damaged.
    """
    # -P: nothing is imported from the directory of the script.
    proved = subprocess.run(  # noqa: S603 - our own script, by this interpreter
        [sys.executable, "-P", str(_CHILD), str(path)],
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=without_credentials(),
    )
    if proved.returncode:
        raise _unreadable(name, proved.stdout.decode() or "it is damaged")
    row = 1
    try:
        for frame in frames(path):
            yield Part(frame, name, row)
            row += frame.height
    except pl.exceptions.PolarsError as error:  # it was changed meanwhile
        raise _unreadable(name, str(error).partition("\n")[0]) from None


def _unreadable(name: str, reason: str) -> BulkcertError:
    message = f"{name}: not a readable Parquet file: {reason}"
    return BulkcertError(ExitStatus.INPUT_UNREADABLE, message, "Copy or export it again.")

"""Parquet files, read by a child process: where the reader panics or aborts, only the child ends."""

import io
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import polars as pl

from bulkcert.errors import BulkcertError, ExitStatus

_CHILD = Path(__file__).with_name("parquet_child.py")
_DAMAGED = "it is damaged"


@contextmanager
def read_parquet(path: Path, name: str) -> Iterator[Iterator[pl.DataFrame]]:
    """Opens a Parquet file; gives its rows in order, in at least one frame.

    Args:
        path: The file, which exists.
        name: What messages call it.

    Raises:
        BulkcertError: INPUT_UNREADABLE: it is not Parquet, or damaged; raised where the frames are asked for.
    """
    # -P: nothing is imported from the directory of the script.
    command = [sys.executable, "-P", str(_CHILD), str(path)]
    with subprocess.Popen(  # noqa: S603 - our own script, by this interpreter
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as child:
        try:
            if child.stdout is None:
                raise ValueError("the child has no standard output")
            yield _frames(child.stdout, name)
        finally:
            child.kill()


def _frames(pipe: IO[bytes], name: str) -> Iterator[pl.DataFrame]:
    while (head := pipe.read(9))[:1] != b".":
        length = int.from_bytes(head[1:], "little")
        content = pipe.read(length)
        if head[:1] != b"F" or len(content) < length:
            raise _unreadable(name, content.decode() if head[:1] == b"E" else _DAMAGED)
        try:
            yield pl.read_ipc_stream(io.BytesIO(content))
        except pl.exceptions.PolarsError:
            raise _unreadable(name, _DAMAGED) from None


def _unreadable(name: str, reason: str) -> BulkcertError:
    message = f"{name}: not a readable Parquet file: {reason}"
    return BulkcertError(ExitStatus.INPUT_UNREADABLE, message, "Copy or export it again.")

"""Lists as the tests load them, each time into a pinned list of its own."""

import tempfile
from itertools import count
from pathlib import Path

import polars as pl
import pytest

from bulkcert import input as lists
from bulkcert.errors import BulkcertError, ExitStatus

OUTCOME, MESSAGE, FIRST_ROW = "its outcome", "its message", "its first row"

_FOLDER = tempfile.TemporaryDirectory(prefix="pinned-")
_NUMBERS = count()


def load(*paths, by_device=True, **options):
    """Loads a list; returns what is pinned, and what its check found."""
    return lists.load(paths, Path(_FOLDER.name, f"{next(_NUMBERS)}.parquet"), by_device=by_device, **options)


def check(*paths, **options):
    """Loads a list; returns what its check found."""
    return load(*paths, **options)[1]


def annotated(pinned, checked, **options):
    """Reads what was loaded, with why rows are not called."""
    why = checked.reasons().select(row=pl.col("row"), **{OUTCOME: "outcome", MESSAGE: "why", FIRST_ROW: "first_row"})
    for batch in lists.annotated(pinned, **options):
        yield batch.join(why, left_on=lists.ROW, right_on="row", how="left", maintain_order="left")


def read(*paths, **options):
    """Loads a list; returns its check, all its rows, annotated, and what is pinned."""
    pinned, checked = load(*paths, **options)
    return checked, pl.concat(annotated(pinned, checked)), pinned


def refused(*paths, status=ExitStatus.INPUT_INVALID, **options):
    """Loads a list that must be refused; returns what is said: one line, and what to do."""
    with pytest.raises(BulkcertError) as caught:
        load(*paths, **options)

    assert status == caught.value.status
    assert "\n" not in caught.value.message
    return f"{caught.value.message} | {caught.value.advice}"

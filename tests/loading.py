"""Inputs as the tests name them: loaded as often as they like, each time into a pinned list of its own."""

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


class Input:
    """Files with what they mean; ``pinned`` is what the last check has left."""

    def __init__(self, *paths, **options):
        self.paths, self.options, self.pinned = paths, options, None

    @property
    def path(self):
        return self.paths[0]


def open_source(*paths, by_device, **options):
    """Names an input; opens nothing."""
    return Input(*paths, by_device=by_device, **options)


def check(source, **options):
    """Loads an input; returns what its check found."""
    path = Path(_FOLDER.name, f"{next(_NUMBERS)}.parquet")
    source.pinned, checked = lists.load(source.paths, path, **source.options, **options)
    return checked


def annotated(source, checked, **options):
    """Reads what was loaded last, with why rows are not called."""
    why = checked.reasons().select(row=pl.col("row"), **{OUTCOME: "outcome", MESSAGE: "why", FIRST_ROW: "first_row"})
    for batch in lists.annotated(source.pinned, **options):
        yield batch.join(why, left_on=lists.ROW, right_on="row", how="left", maintain_order="left")


def read(*paths, by_device=True, **options):
    """Loads an input; returns its check, all its rows, annotated, and what is pinned."""
    source = open_source(*paths, by_device=by_device, **options)
    checked = check(source)
    return checked, pl.concat(annotated(source, checked)), source.pinned


def refused(*paths, status=ExitStatus.INPUT_INVALID, by_device=True, **options):
    """Loads an input that must be refused, and returns what the user is told: one line, and what to do."""
    with pytest.raises(BulkcertError) as caught:
        lists.load(paths, Path(_FOLDER.name, "refused"), by_device=by_device, **options)

    assert status == caught.value.status
    assert "\n" not in caught.value.message
    return f"{caught.value.message} | {caught.value.advice}"

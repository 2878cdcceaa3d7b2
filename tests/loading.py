"""Inputs as the tests name them: loaded as often as they like, each time into a pinned list of its own."""

import tempfile
from itertools import count
from pathlib import Path

from bulkcert import input as lists

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
    """Reads what was loaded last."""
    return lists.annotated(source.pinned, checked.settled, checked.protected_by, **options)

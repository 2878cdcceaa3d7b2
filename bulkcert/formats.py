"""The formats of lists and results, by the suffix of their names; ``output.formats`` says how each is written."""

from pathlib import Path
from typing import Literal, NamedTuple

ListKind = Literal["csv", "parquet", "ndjson"]


class ListFormat(NamedTuple):
    """How a list is read: its kind, and how it is compressed, if at all; whether results may have this suffix."""

    kind: ListKind
    compression: Literal["", "gz", "zst"] = ""
    is_written: bool = True


LISTS = {
    ".csv": ListFormat("csv"),
    ".csv.gz": ListFormat("csv", "gz"),
    ".csv.zst": ListFormat("csv", "zst"),
    ".parquet": ListFormat("parquet"),
    ".pq": ListFormat("parquet", is_written=False),
    ".ndjson": ListFormat("ndjson"),
    ".jsonl": ListFormat("ndjson", is_written=False),
}
"""What a list can be, by its suffix; ``output.formats`` says how results are written."""

SUFFIXES_SHOWN = f"{', '.join(suffix for suffix, each in LISTS.items() if each.is_written)} (.ndjson is JSON)"
"""What results can end with, in words."""


def list_suffix(path: Path) -> str:
    """Returns which suffix of ``LISTS`` a name ends with, in any case; empty if with none."""
    return next((suffix for suffix in LISTS if path.name.lower().endswith(suffix)), "")

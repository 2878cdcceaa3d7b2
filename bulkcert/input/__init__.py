"""The input: read once, checked row by row, and pinned; then read from there in batches.

What the rest of the program needs is named here. Inside, ``files`` opens what was named, ``reading`` has the bytes,
``blocks`` the CSV records, ``lines`` the NDJSON objects, ``parquet`` the Parquet rows, once a child process has proved
that they can be read, ``table`` a file's columns and rows, ``places`` where they stand, ``columns`` the header,
``serials`` the rules, ``duplicates`` the repeated keys, ``serial_list`` and ``protection`` the rows that must not be
touched, ``findings`` what the check of all rows makes of them, ``checked`` its outcome, ``load`` the one pass,
``pinning`` and ``pinned`` the list that it leaves.
"""

from bulkcert.input.checked import Check, InvalidRow
from bulkcert.input.findings import INVALID_SHOWN
from bulkcert.input.load import load, loaded
from bulkcert.input.pinned import (
    BATCH_ROWS,
    CA_SN,
    DEVICE_SN,
    FIRST_ROW,
    MESSAGE,
    OUTCOME,
    OWN_PREFIX,
    ROW,
    PinnedList,
    annotated,
    reasons,
)
from bulkcert.input.protection import Protection, open_protection
from bulkcert.words import printable

__all__ = [
    "BATCH_ROWS",
    "CA_SN",
    "DEVICE_SN",
    "FIRST_ROW",
    "INVALID_SHOWN",
    "MESSAGE",
    "OUTCOME",
    "OWN_PREFIX",
    "ROW",
    "Check",
    "InvalidRow",
    "PinnedList",
    "Protection",
    "annotated",
    "load",
    "loaded",
    "open_protection",
    "printable",
    "reasons",
]

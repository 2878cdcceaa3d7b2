"""The input: opened, checked as a whole before the first call, then read in batches that say which rows may be called.

What the rest of the program needs is named here. Inside, ``reading`` has the bytes, ``blocks`` the CSV records,
``lines`` and ``values`` the NDJSON objects, ``columns`` the header, ``table`` the opened file, ``parts`` its rows,
``serials`` the rules, ``duplicates`` the repeated keys, ``serial_list`` and ``protection`` the rows that must not be
touched, ``checking`` the first pass, ``checked`` what it found and ``annotation`` all later ones.
"""

from bulkcert.batch.source.annotation import (
    BATCH_ROWS,
    CA_SN,
    DEVICE_SN,
    FIRST_ROW,
    MESSAGE,
    OUTCOME,
    ROW,
    annotated,
)
from bulkcert.batch.source.checked import Check, InvalidRow
from bulkcert.batch.source.checking import INVALID_SHOWN, check
from bulkcert.batch.source.protection import Protection, open_protection
from bulkcert.batch.source.serials import printable
from bulkcert.batch.source.table import OWN_PREFIX, Source, open_source, without_rows

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
    "Protection",
    "Source",
    "annotated",
    "check",
    "open_protection",
    "open_source",
    "printable",
    "without_rows",
]

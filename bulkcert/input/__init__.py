"""The input: read once, checked row by row, and pinned; then read from there in batches.

What the rest of the program needs is named here. Inside, ``files`` opens what was named, ``csv_file``, ``ndjson`` and
``parquet`` read the rows, ``records`` says where they stand, ``columns`` has the header, ``serials`` the rules,
``instances`` which instance a row is of, ``protect`` the rows that must not be touched, ``check`` what the pass over
all rows finds, ``load`` that one pass, ``pinned`` the list that it leaves.
"""

from bulkcert.input.check import Check, InvalidRow
from bulkcert.input.instances import InstanceSource
from bulkcert.input.load import load
from bulkcert.input.pinned import (
    CA_SN,
    DEVICE_SN,
    INSTANCE,
    OWN_PREFIX,
    ROW,
    PinnedList,
    annotated,
    ca_keys,
)
from bulkcert.input.protect import open_protection

__all__ = [
    "CA_SN",
    "DEVICE_SN",
    "INSTANCE",
    "OWN_PREFIX",
    "ROW",
    "Check",
    "InstanceSource",
    "InvalidRow",
    "PinnedList",
    "annotated",
    "ca_keys",
    "load",
    "open_protection",
]

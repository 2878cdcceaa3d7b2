"""The input: read once, checked row by row, and pinned; then read from there in batches.

What the rest of the program needs is named here. Inside, ``files`` opens what was named, ``readers`` reads the
rows, ``records`` says where they stand, ``columns`` which columns hold serials and instances, ``check`` has the rules
of a serial and what the pass over all rows finds, ``findings`` finds it, ``protect`` has the rows that must not be
touched, ``load`` is that one pass, ``pinned`` the list that it leaves.
"""

from bulkcert.input.check import Check
from bulkcert.input.columns import InstanceSource
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
    "PinnedList",
    "annotated",
    "ca_keys",
    "load",
    "open_protection",
]

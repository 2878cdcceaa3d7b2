"""The report of a run: every number counted from the store, and shown in four formats."""

from typing import Literal

Format = Literal["html", "text", "json", "md"]

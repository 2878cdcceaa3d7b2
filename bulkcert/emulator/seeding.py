"""What exists in an emulator before the first call, taken from the input of a run."""

import random
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from bulkcert.actions import Action
from bulkcert.batch.source import CA_SN, DEVICE_SN, OUTCOME, Check, Source, annotated, check, open_source
from bulkcert.emulator.settings import Seed


def seed_for(
    action: Action, path: Path, instance: str, *, device_column: str, ca_column: str, unregistered: float, draw: int
) -> Seed:
    """Returns the certificates of an input, in the state opposite to the one that an action wants.

    Args:
        action: What is going to be done to them.
        path: The input; its invalid rows are left out.
        instance: Instance that holds them.
        device_column: Column of the device serials, or an empty text to look for it.
        ca_column: Column of the CA serials, or an empty text to look for it.
        unregistered: Share of the certificates, from 0 to 1, that is left out.
        draw: Seed of the choice of those.

    Raises:
        BulkcertError: The input cannot be used.
    """
    source = open_source(
        path, by_device=action.by_device, device_column=device_column or None, ca_column=ca_column or None
    )
    checked = check(source, trust_serials=True)
    rows = _pairs(source, checked, unregistered, random.Random(draw))
    return Seed(instance, rows, "1" if action.before == "active" else "0")


def _pairs(source: Source, checked: Check, unregistered: float, chance: random.Random) -> Iterator[tuple[str, str]]:
    device = DEVICE_SN if source.device_column is not None else pl.lit("").alias(DEVICE_SN)
    for batch in annotated(source, checked):
        pairs = batch.filter(pl.col(OUTCOME).is_null()).select(CA_SN, device)
        yield from (pair for pair in pairs.iter_rows() if chance.random() >= unregistered)

"""What exists in an emulator before the first call, taken from the input of a run."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from bulkcert.emulator.settings import DeviceStatus, Seed, SeededCertificate
from bulkcert.input import CA_SN, DEVICE_SN, OUTCOME, Check, PinnedList, annotated, loaded
from bulkcert.service.actions import Action

_STATUS: Mapping[str, DeviceStatus | None] = {"active": "1", "inactive": "0", "deleted": None}


@dataclass(frozen=True, slots=True)
class Shares:
    """How the certificates of a list differ, as shares from 0 to 1.

    Attributes:
        unregistered: Share of the list that is not registered.
        already: Share of the rest that is in the desired state already.
        connecting: Share of the unregistered devices that connect for the first time while calls are coming.
    """

    unregistered: float = 0.0
    already: float = 0.0
    connecting: float = 0.0


def seed_for(
    action: Action, path: Path, instance: str, *, device_column: str, ca_column: str, shares: Shares, draw: int
) -> Seed:
    """Returns the certificates of an input, in the state from which an action changes them.

    Args:
        action: What is going to be done to them.
        path: The input; its invalid rows are skipped.
        instance: Instance that holds them.
        device_column: Column of the device serials, or an empty text to look for it.
        ca_column: Column of the CA serials, or an empty text to look for it.
        shares: How many are different.
        draw: Seed of the choice of those.

    Raises:
        BulkcertError: The input cannot be used.
    """
    how = {"by_device": action.by_device, "device_column": device_column or None, "ca_column": ca_column or None}

    def rows() -> Iterator[SeededCertificate]:
        with loaded([path], **how, trust_serials=True) as (source, checked):
            yield from _rows(action, _pairs(source, checked), checked.callable, shares, draw)

    return Seed(instance, rows())


def _pairs(source: PinnedList, checked: Check) -> Iterator[tuple[str, str]]:
    device = DEVICE_SN if source.device_column is not None else pl.lit("").alias(DEVICE_SN)
    for batch in annotated(source, checked.settled):
        yield from batch.filter(pl.col(OUTCOME).is_null()).select(CA_SN, device).iter_rows()


def _rows(
    action: Action, pairs: Iterator[tuple[str, str]], count: int, shares: Shares, draw: int
) -> Iterator[SeededCertificate]:
    # A generator for each share, so that the same certificates are unregistered whatever else is asked for.
    left_out, already, connecting = (random.Random(seed) for seed in (draw, f"already {draw}", f"connecting {draw}"))
    before, desired = _STATUS[action.before], _STATUS[action.desired]
    for ca_sn, device_sn in pairs:
        if left_out.random() >= shares.unregistered:
            status, connects_at = desired if already.random() < shares.already else before, None
        else:
            connects = connecting.random() < shares.connecting and device_sn
            status, connects_at = None, connecting.randint(1, count) if connects else None
        yield SeededCertificate(ca_sn, device_sn, status, connects_at)

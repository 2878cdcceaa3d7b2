"""What exists in an emulator before the first call, taken from the input of a run."""

import random
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from bulkcert.emulator.registry import DeviceStatus, SeededCertificate
from bulkcert.emulator.settings import Settings
from bulkcert.errors import temporary
from bulkcert.input import CA_SN, DEVICE_SN, INSTANCE, InstanceSource, annotated, load
from bulkcert.service.actions import ACTIONS

_STATUS: Mapping[str, DeviceStatus | None] = {"active": "1", "inactive": "0", "deleted": None}


def seeded(settings: Settings, path: Path) -> Iterator[SeededCertificate]:
    """Yields the certificates of a list, in the state from which ``--seed-for`` changes them.

    Args:
        settings: What is going to be done to them, their columns, and how many are different.
        path: The list; its invalid rows are skipped.

    Raises:
        BulkcertError: The list cannot be used.
    """
    action, draw = ACTIONS[settings.seed_for], settings.fault_seed
    columns: dict[str, Any] = {"device_column": settings.seed_device_column, "ca_column": settings.seed_ca_column}
    if settings.seed_instance_column:
        columns["instances"] = InstanceSource(instance_column=settings.seed_instance_column, endpoint=True)
    # A generator for each share, so that the same certificates are unregistered whatever else is asked for.
    left_out, already, connecting = (random.Random(seed) for seed in (draw, f"already {draw}", f"connecting {draw}"))
    before, desired = _STATUS[action.before], _STATUS[action.desired]
    with temporary(tempfile.TemporaryDirectory) as folder:
        pinned = Path(folder) / "input.parquet"
        source, checked = load([path], pinned, by_device=action.by_device, **columns, trust_serials=True)
        empty = pl.lit("")
        device = DEVICE_SN if source.device_column is not None else empty.alias(DEVICE_SN)
        instance = INSTANCE if source.instance_column is not None else empty
        for batch in annotated(source, own=False):
            for ca_sn, device_sn, at in checked.callable_of(batch).select(CA_SN, device, instance).iter_rows():
                if left_out.random() >= settings.unregistered:
                    status = desired if already.random() < settings.already else before
                    yield SeededCertificate(ca_sn, device_sn, status, instance=at)
                else:
                    connects = connecting.random() < settings.connecting and device_sn
                    connects_at = connecting.randint(1, checked.callable) if connects else None
                    yield SeededCertificate(ca_sn, device_sn, None, connects_at, at)

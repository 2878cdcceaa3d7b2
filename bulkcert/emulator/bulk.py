"""Many certificates at once: put into the emulator's database, and taken out of it."""

import sqlite3
import time
from collections.abc import Iterable, Iterator
from zlib import crc32

from bulkcert.emulator.settings import ACCOUNT, DeviceStatus

_DAY_MS = 24 * 60 * 60 * 1000

VALIDITY_MS = 10 * 365 * _DAY_MS
"""How long a certificate is valid that was seeded or registered by its first connection, in milliseconds."""

_LEAST_DAYS, _MOST_DAYS = 365, 3650
"""How long certificates of a list are valid: so many days, each by its serial, so that not all end on one day."""

Validity = tuple[int | None, int | None]
"""Begin and end as Unix time in milliseconds; what is None follows from the other, or from the current time."""

ANY: Validity = (None, None)
"""From now on."""

Row = tuple[str, str, DeviceStatus | None]
"""``CaSn``, ``DeviceSn`` and status; see ``fill``."""


def validity(wanted: Validity = ANY) -> tuple[str, str]:
    """Returns begin and end of a certificate as the service spells them."""
    begin, end = wanted
    if begin is None:
        begin = int(time.time() * 1000) if end is None else end - VALIDITY_MS
    return str(begin), str(begin + VALIDITY_MS if end is None else end)


def _spread_end(begin: str, sn: str) -> str:
    """Returns an end of validity that follows from the serial, as the service spells it."""
    days = _LEAST_DAYS + crc32(sn.encode()) % (_MOST_DAYS - _LEAST_DAYS + 1)
    return str(int(begin) + days * _DAY_MS)


def fill(
    database: sqlite3.Connection, instance: str, rows: Iterable[Row], wanted: Validity = ANY, *, spread: bool = False
) -> None:
    """Adds many certificates, or sets their status, in one transaction.

    Args:
        database: Gets them.
        instance: Instance that holds them, added if there is none.
        rows: An empty ``DeviceSn`` means the CA certificate alone; the CAs of device rows are active unless named.
            Without a status the device is not registered, and only its CA is there.
        wanted: Validity of the certificates that the rows name.
        spread: Whether they end on different days, each by its serial.
    """
    begin, end = validity(wanted)
    named: dict[str, str] = {}
    implied: dict[str, str] = {}

    def devices() -> Iterator[tuple[str, ...]]:
        for ca_sn, device_sn, status in rows:
            if device_sn:
                implied[ca_sn] = "1"
                if status:
                    until = _spread_end(begin, device_sn) if spread else end
                    yield instance, ca_sn, device_sn, begin, until, status
            elif status:
                named[ca_sn] = status

    database.execute("BEGIN")
    with database:
        database.execute("INSERT OR IGNORE INTO instances VALUES (?, ?)", (instance, ACCOUNT))
        database.executemany("INSERT OR REPLACE INTO devices VALUES (?, ?, ?, NULL, ?, ?, ?)", devices())
        _put_cas(database, instance, implied | named, validity())
        if wanted != ANY or spread:
            limits = [(begin, _spread_end(begin, sn) if spread else end, instance, sn) for sn in named]
            database.executemany("UPDATE cas SET valid_begin = ?, valid_end = ? WHERE instance = ? AND sn = ?", limits)


def _put_cas(database: sqlite3.Connection, instance: str, cas: dict[str, str], limits: tuple[str, str]) -> None:
    database.executemany(
        "INSERT INTO cas VALUES (?, ?, ?, '', '', '', ?, ?, ?) "
        "ON CONFLICT (instance, sn) DO UPDATE SET status = excluded.status",
        ((instance, sn, f"ca-{sn}", *limits, status) for sn, status in cas.items()),
    )


def counts(database: sqlite3.Connection, instance: str) -> dict[str, dict[str, int]]:
    """Returns how many CA and device certificates are in each status."""
    cas = database.execute("SELECT status, COUNT(*) FROM cas WHERE instance = ? GROUP BY status", (instance,))
    devices = database.execute("SELECT status, COUNT(*) FROM devices WHERE instance = ? GROUP BY status", (instance,))
    return {"cas": dict(map(tuple, cas)), "devices": dict(map(tuple, devices))}


def states(database: sqlite3.Connection, instance: str) -> dict[str, object]:
    """Returns the status of every CA by its serial, and ``CaSn``, ``DeviceSn`` and status of every device."""
    cas = database.execute("SELECT sn, status FROM cas WHERE instance = ? ORDER BY sn", (instance,))
    devices = database.execute(
        "SELECT ca_sn, device_sn, status FROM devices WHERE instance = ? ORDER BY ca_sn, device_sn", (instance,)
    )
    return {"cas": dict(map(tuple, cas)), "devices": list(map(tuple, devices))}

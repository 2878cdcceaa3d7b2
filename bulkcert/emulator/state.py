"""What the emulator knows: instances, access keys, CA and device certificates, in SQLite."""

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from bulkcert.emulator import bulk
from bulkcert.emulator.listing import CAS, DEVICES, DEVICES_OF, Listings
from bulkcert.emulator.schema import open_database
from bulkcert.emulator.settings import ACCOUNT, DeviceStatus


@dataclass(frozen=True, slots=True)
class AccessKey:
    """One access key.

    Attributes:
        id: Its id.
        secret: Its secret.
        account: Account that it belongs to.
        token: Security token that must come with it, or None for a key that needs none.
        expires_at: Unix time in seconds at which the token expires, or None.
        enabled: Whether it may be used.
        denied: RAM actions that it may not do.
    """

    id: str
    secret: str = field(repr=False)
    account: str = ACCOUNT
    token: str | None = field(default=None, repr=False)
    expires_at: float | None = None
    enabled: bool = True
    denied: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class CaCertificate:
    """A CA certificate to be registered; the fields are those of the reference, section 1.1."""

    instance: str
    sn: str
    name: str
    content: str
    verification_content: str
    registration_code: str
    valid_begin: str
    valid_end: str


class Registry:
    """The state of one emulator.

    Args:
        path: SQLite file, created if missing; None for memory.

    Raises:
        BulkcertError: The file cannot be used.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._db = open_database(path)
        self._keys = {key.id: key for key in self._read_keys()}
        self._listings = Listings(self._db)

    def close(self) -> None:
        """Closes the database; nothing else may be called afterwards."""
        self._db.close()

    # Instances and access keys.

    def put_instance(self, instance: str, account: str = ACCOUNT) -> None:
        """Adds an instance, or gives it to another account."""
        self._db.execute("INSERT OR REPLACE INTO instances VALUES (?, ?)", (instance, account))

    def owner(self, instance: str) -> str | None:
        """Returns the account that owns an instance, or None if there is no such instance."""
        row = self._db.execute("SELECT account FROM instances WHERE id = ?", (instance,)).fetchone()
        return None if row is None else row[0]

    def put_access_key(self, key: AccessKey) -> None:
        """Adds an access key, or replaces the one with the same id."""
        denied = " ".join(sorted(key.denied))
        fields = (key.id, key.secret, key.account, key.token, key.expires_at, key.enabled, denied)
        self._db.execute("INSERT OR REPLACE INTO access_keys VALUES (?, ?, ?, ?, ?, ?, ?)", fields)
        self._keys[key.id] = key

    def access_key(self, key_id: str) -> AccessKey | None:
        """Returns an access key, or None."""
        return self._keys.get(key_id)

    def knows_token(self, token: str) -> bool:
        """Returns whether a security token belongs to any key."""
        return any(key.token == token for key in self._keys.values())

    def _read_keys(self) -> Iterator[AccessKey]:
        for row in self._db.execute("SELECT * FROM access_keys"):
            key_id, secret, account, token, expires_at, enabled, denied = row
            yield AccessKey(key_id, secret, account, token, expires_at, bool(enabled), frozenset(denied.split()))

    # Register codes.

    def register_code(self, instance: str) -> str:
        """Returns the register code of an instance; it stays the same until it is used (reference, section 10)."""
        row = self._db.execute("SELECT code FROM codes WHERE instance = ? AND NOT used", (instance,)).fetchone()
        if row is not None:
            return str(row[0])
        code = f"{uuid4()}{uuid4().int % 10**10:010d}"
        self._db.execute("INSERT INTO codes VALUES (?, ?, FALSE)", (instance, code))
        return code

    def code_used(self, instance: str, code: str) -> bool | None:
        """Returns whether a register code was used, or None if the instance never gave it out."""
        row = self._db.execute("SELECT used FROM codes WHERE instance = ? AND code = ?", (instance, code)).fetchone()
        return None if row is None else bool(row[0])

    # CA certificates.

    def add_ca(self, ca: CaCertificate) -> bool:
        """Registers a CA, active (section 10), and uses up its code; returns False if the serial is not unique."""
        if self._db.execute("SELECT 1 FROM cas WHERE sn = ?", (ca.sn,)).fetchone():
            return False
        fields = (ca.instance, ca.sn, ca.name, ca.content, ca.verification_content, ca.registration_code)
        self._db.execute("BEGIN")
        with self._db:
            self._db.execute(
                "INSERT INTO cas VALUES (?, ?, ?, ?, ?, ?, ?, ?, '1')", (*fields, ca.valid_begin, ca.valid_end)
            )
            self._db.execute(
                "UPDATE codes SET used = TRUE WHERE instance = ? AND code = ?", (ca.instance, ca.registration_code)
            )
        self._listings.clear()
        return True

    def ca(self, instance: str, sn: str) -> dict[str, str] | None:
        """Returns a CA certificate as the service shows it (section 1.1), or None."""
        found = self._db.execute("SELECT * FROM ca_objects WHERE instance = ? AND Sn = ?", (instance, sn))
        return next(map(_shown, found), None)

    def set_ca_status(self, instance: str, sn: str, status: DeviceStatus) -> bool:
        """Sets the status of a CA; returns False if it is not registered. Its devices keep theirs (section 10)."""
        changed = self._db.execute("UPDATE cas SET status = ? WHERE instance = ? AND sn = ?", (status, instance, sn))
        return changed.rowcount > 0

    def delete_ca(self, instance: str, sn: str) -> bool:
        """Deletes a CA with every device certificate under it (section 10); returns False if it is not registered."""
        self._db.execute("BEGIN")
        with self._db:
            deleted = self._db.execute("DELETE FROM cas WHERE instance = ? AND sn = ?", (instance, sn))
            self._db.execute("DELETE FROM devices WHERE instance = ? AND ca_sn = ?", (instance, sn))
        self._listings.clear()
        return deleted.rowcount > 0

    def cas(self, instance: str, page_no: int, page_size: int) -> tuple[int, list[dict[str, str]]]:
        """Returns how many CA certificates there are, and one page of them; pages count from 1."""
        total, page = self._listings.page(CAS, (instance,), page_no, page_size)
        return total, list(map(_shown, page))

    # Device certificates.

    def add_device(self, instance: str, ca_sn: str, device_sn: str, name: str | None = None) -> None:
        """Registers a device certificate, active, as its first connection does (section 10)."""
        fields = (instance, ca_sn, device_sn, name, *bulk.validity())
        self._db.execute("INSERT INTO devices VALUES (?, ?, ?, ?, ?, ?, '1')", fields)
        self._listings.clear()

    def device(self, instance: str, ca_sn: str, device_sn: str) -> dict[str, str] | None:
        """Returns a device certificate as the service shows it (section 1.1), or None."""
        found = self._db.execute(
            "SELECT * FROM device_objects WHERE instance = ? AND CaSn = ? AND DeviceSn = ?",
            (instance, ca_sn, device_sn),
        )
        return next(map(_shown, found), None)

    def set_device_status(self, instance: str, ca_sn: str, device_sn: str, status: DeviceStatus) -> bool:
        """Sets the status of a device; returns False if it is not registered."""
        changed = self._db.execute(
            "UPDATE devices SET status = ? WHERE instance = ? AND ca_sn = ? AND device_sn = ?",
            (status, instance, ca_sn, device_sn),
        )
        return changed.rowcount > 0

    def delete_device(self, instance: str, ca_sn: str, device_sn: str) -> bool:
        """Deletes the registration of a device; returns False if it is not registered."""
        changed = self._db.execute(
            "DELETE FROM devices WHERE instance = ? AND ca_sn = ? AND device_sn = ?", (instance, ca_sn, device_sn)
        )
        self._listings.clear()
        return changed.rowcount > 0

    def devices(self, instance: str, page_no: int, page_size: int) -> tuple[int, list[dict[str, str]]]:
        """Returns how many device certificates there are, and one page of them; pages count from 1."""
        total, page = self._listings.page(DEVICES, (instance,), page_no, page_size)
        return total, list(map(_shown, page))

    def devices_of(self, instance: str, ca_sn: str, page_no: int, page_size: int) -> tuple[int, list[dict[str, str]]]:
        """Returns how many device certificates a CA has, and one page of them; pages count from 1."""
        total, page = self._listings.page(DEVICES_OF, (instance, ca_sn), page_no, page_size)
        return total, list(map(_shown, page))

    # In bulk.

    def seed(
        self,
        instance: str,
        pairs: Iterable[tuple[str, str]],
        status: DeviceStatus = "1",
        validity: bulk.Validity = bulk.ANY,
    ) -> None:
        """Adds many certificates, or sets their status; see ``bulk.fill``.

        Args:
            instance: Instance that holds them, added if there is none.
            pairs: Pairs of ``CaSn`` and ``DeviceSn``; an empty ``DeviceSn`` means the CA certificate alone.
            status: Registry of the certificate that each pair names; the CAs of device certificates are active unless
                named.
            validity: Begin and end of the certificates that the pairs name.
        """
        self.fill(instance, ((ca_sn, device_sn, status) for ca_sn, device_sn in pairs), validity)

    def fill(
        self, instance: str, rows: Iterable[bulk.Row], validity: bulk.Validity = bulk.ANY, *, spread: bool = False
    ) -> None:
        """Adds many certificates, or sets their status, each to its own; see ``bulk.fill``."""
        bulk.fill(self._db, instance, rows, validity, spread=spread)
        self._listings.clear()

    def counts(self, instance: str) -> dict[str, dict[str, int]]:
        """Returns how many CA and device certificates are in each status."""
        return bulk.counts(self._db, instance)

    def states(self, instance: str) -> dict[str, object]:
        """Returns the status of every CA by its serial, and ``CaSn``, ``DeviceSn`` and status of every device."""
        return bulk.states(self._db, instance)


def _shown(row: sqlite3.Row) -> dict[str, str]:
    shown = dict(row)
    del shown["instance"]
    return shown

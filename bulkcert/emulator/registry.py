"""What the emulator knows: instances, CA and device certificates, in SQLite (reference, sections 1.1 and 10).

Columns are named as the service names the fields. A certificate is addressed by its instance and its serials: that of
the CA, or those of CA and device.
"""

import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple
from uuid import uuid4
from zlib import crc32

from bulkcert.errors import BulkcertError, ExitStatus

ACCOUNT = "1000000000000001"
"""Account that owns the instances and the access key of the settings."""

DeviceStatus = Literal["0", "1"]
"""State of a certificate as the service spells it: ``"0"`` inactive, ``"1"`` active (reference, section 1.1)."""

_FORMAT = 2
"""Version of the schema, kept in the file as ``user_version``."""

_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS instances (Id TEXT PRIMARY KEY, Account TEXT NOT NULL, Code TEXT) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS cas (
    Instance TEXT NOT NULL,
    Sn TEXT NOT NULL,
    CaName TEXT NOT NULL,
    CaContent TEXT NOT NULL DEFAULT '',
    VerificationContent TEXT NOT NULL DEFAULT '',
    RegistrationCode TEXT NOT NULL DEFAULT '',
    ValidBegin TEXT NOT NULL,
    ValidEnd TEXT NOT NULL,
    Status TEXT NOT NULL,
    PRIMARY KEY (Instance, Sn)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS devices (
    Instance TEXT NOT NULL,
    CaSn TEXT NOT NULL,
    DeviceSn TEXT NOT NULL,
    DeviceName TEXT NOT NULL,
    ValidBegin TEXT NOT NULL,
    ValidEnd TEXT NOT NULL,
    Status TEXT NOT NULL,
    PRIMARY KEY (Instance, CaSn, DeviceSn)
) WITHOUT ROWID;

PRAGMA user_version = {_FORMAT};
"""


class CertificateKind(NamedTuple):
    """One kind of certificate.

    Attributes:
        table: Where they are.
        key: What addresses one.
        fields: What the service shows of one.
        missing: ``Code`` where there is none.
    """

    table: str
    key: tuple[str, ...]
    fields: str
    missing: str

    @property
    def where(self) -> str:
        """The condition that finds one by what addresses it."""
        return " AND ".join(f"{name} = ?" for name in self.key)


CAS = CertificateKind(
    "cas",
    ("Instance", "Sn"),
    "Sn, CaName, CaContent, VerificationContent, RegistrationCode, ValidBegin, ValidEnd, Status",
    "FindCaBySnError",
)
DEVICES = CertificateKind(
    "devices",
    ("Instance", "CaSn", "DeviceSn"),
    "DeviceSn, CaSn, DeviceName, '-----BEGIN DEVICECERTIFICATE-----' || char(10) || '-----END DEVICECERTIFICATE-----'"
    " || char(10) AS DeviceContent, ValidBegin, ValidEnd, Status",
    "FindDeviceBySnError",
)
KINDS = {len(kind.key): kind for kind in (CAS, DEVICES)}
"""The kind of certificate that so many parts address, the instance among them."""


class SeededCertificate(NamedTuple):
    """One certificate of a seed.

    Attributes:
        ca_sn: Serial of the CA; that of a device is there, and active.
        device_sn: Serial of the device; empty for the CA certificate alone.
        status: State of the certificate; None if it is not registered.
        connects_at: Number of the call, from 1, with which the device connects for the first time; None for never.
        instance: Its instance; empty for that of the seed.
    """

    ca_sn: str
    device_sn: str
    status: DeviceStatus | None = "1"
    connects_at: int | None = None
    instance: str = ""


class Registry:
    """The certificates of one emulator; each change is its own transaction.

    Nothing is ever synced to the disk: what was answered survives the end of the program, but not that of the machine.

    Args:
        path: SQLite file, created if missing; None for memory.

    Raises:
        BulkcertError: The file cannot be used.
    """

    def __init__(self, path: Path | None = None) -> None:
        # Of each list that was read: its length, and the serials before some of its places; until one comes or goes.
        self._lists: dict[tuple[str, ...], tuple[int, dict[int, tuple[str, ...]]]] = {}
        if path is not None and path.is_symlink():  # SQLite would make a file where it leads
            raise BulkcertError(
                ExitStatus.CANNOT_WRITE, f"The emulator cannot use the database {path}: it is a link.", "Name the file."
            )
        try:
            self._db = sqlite3.connect(path or ":memory:", isolation_level=None, timeout=1)
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise
        except sqlite3.Error as error:
            raise BulkcertError(
                ExitStatus.CANNOT_WRITE,
                f"The emulator cannot use the database {path}: {error}.",
                "Check that its directory exists and is writable, and that no other emulator uses the file.",
            ) from error

    def _prepare(self) -> None:
        # The lock is held for good, so a second emulator on the same file fails at its start and not in its midst.
        self._db.executescript("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;")
        if self._db.execute("PRAGMA user_version").fetchone()[0] not in (0, _FORMAT):
            raise sqlite3.DatabaseError("it was made by another version of bulkcert")
        self._db.executescript(_SCHEMA)
        self._db.row_factory = sqlite3.Row

    def close(self) -> None:
        """Closes the database; nothing else may be called afterwards."""
        self._db.close()

    def put_instance(self, instance: str, account: str = ACCOUNT) -> None:
        """Adds an instance, or gives it to another account."""
        self._db.execute(
            "INSERT INTO instances VALUES (?, ?, NULL) ON CONFLICT DO UPDATE SET Account = excluded.Account",
            (instance, account),
        )

    def owner(self, instance: str) -> str | None:
        """Returns the account that owns an instance, or None if there is no such instance."""
        row = self._db.execute("SELECT Account FROM instances WHERE Id = ?", (instance,)).fetchone()
        return None if row is None else row[0]

    def register_code(self, instance: str) -> str:
        """Returns the register code of an instance; it stays the same until it is used."""
        code = f"{uuid4()}{uuid4().int % 10**10:010d}"
        given = "UPDATE instances SET Code = COALESCE(Code, ?) WHERE Id = ? RETURNING Code"
        return str(self._db.execute(given, (code, instance)).fetchall()[0][0])

    def register_ca(self, instance: str, ca: Mapping[str, str]) -> bool:
        """Registers a CA by its fields, active, and uses up the register code; returns False if its serial is taken."""
        if self._db.execute("SELECT 1 FROM cas WHERE Sn = ?", (ca["Sn"],)).fetchone():
            return False
        fields = {"Instance": instance, **ca, "RegistrationCode": self.register_code(instance), "Status": "1"}
        self._db.execute("BEGIN")
        with self._db:
            names, places = ", ".join(fields), ", ".join("?" * len(fields))
            self._db.execute(f"INSERT INTO cas ({names}) VALUES ({places})", (*fields.values(),))  # noqa: S608 - ours
            self._db.execute("UPDATE instances SET Code = NULL WHERE Id = ?", (instance,))
        self._lists.clear()
        return True

    def certificate(self, *address: str) -> dict[str, str] | None:
        """Returns a certificate as the service shows it, or None."""
        kind = KINDS[len(address)]
        found = f"SELECT {kind.fields} FROM {kind.table} WHERE {kind.where}"  # noqa: S608 - ours
        row = self._db.execute(found, address).fetchone()
        return None if row is None else dict(row)

    def set_status(self, *address: str, status: DeviceStatus) -> bool:
        """Sets the status of a certificate; returns False if it is not registered. Devices of a CA keep theirs."""
        kind = KINDS[len(address)]
        change = f"UPDATE {kind.table} SET Status = ? WHERE {kind.where}"  # noqa: S608 - ours
        return self._db.execute(change, (status, *address)).rowcount > 0

    def delete(self, *address: str) -> bool:
        """Deletes a certificate, a CA with every device under it; returns False if it is not registered."""
        kind = KINDS[len(address)]
        self._db.execute("BEGIN")
        with self._db:
            delete = f"DELETE FROM {kind.table} WHERE {kind.where}"  # noqa: S608 - ours
            deleted = self._db.execute(delete, address).rowcount > 0
            if kind is CAS:
                self._db.execute("DELETE FROM devices WHERE Instance = ? AND CaSn = ?", address)
        self._lists.clear()
        return deleted

    def connect(self, instance: str, ca_sn: str, device_sn: str, device_name: str | None = None) -> bool:
        """Lets a device connect: an unknown one under an active CA is registered, active; returns whether it was."""
        ca = self.certificate(instance, ca_sn)
        if ca is None or ca["Status"] != "1":
            return False
        device = (instance, ca_sn, device_sn, device_name or f"device-{device_sn}", *_validity(device_sn))
        self._lists.clear()
        return self._db.execute("INSERT OR IGNORE INTO devices VALUES (?, ?, ?, ?, ?, ?, '1')", device).rowcount > 0

    def page(
        self, kind: CertificateKind, scope: tuple[str, ...], number: int, size: int
    ) -> tuple[int, list[dict[str, str]]]:
        """Returns how many certificates a list has, and one page of it, by serial.

        Args:
            kind: What is listed.
            scope: Instance, and CA where the list is that of a CA.
            number: Number of the page, from 1.
            size: Certificates of a page.
        """
        key, serials, offset = (kind.table, *scope), kind.key[len(scope) :], (number - 1) * size
        within = " AND ".join(f"{name} = ?" for name in kind.key[: len(scope)])
        if key not in self._lists:
            count = f"SELECT COUNT(*) FROM {kind.table} WHERE {within}"  # noqa: S608 - ours
            self._lists[key] = self._db.execute(count, scope).fetchone()[0], {0: ("",) * len(serials)}
        total, before = self._lists[key]
        if offset >= total:
            return total, []
        # Most readers come from the page before, or nearly: its last serials spare counting through millions of rows.
        start = next(place for place in range(offset, -1, -size) if place in before)
        names, places = ", ".join(serials), ", ".join("?" * len(serials))
        rows = self._db.execute(
            f"SELECT {kind.fields} FROM {kind.table} WHERE {within} AND ({names}) > ({places}) "  # noqa: S608 - ours
            f"ORDER BY {names} LIMIT ? OFFSET ?",
            (*scope, *before[start], size, offset - start),
        ).fetchall()
        before[offset + len(rows)] = tuple(rows[-1][name] for name in serials)
        return total, list(map(dict, rows))

    def fill(self, instance: str, rows: Iterable[SeededCertificate]) -> None:
        """Adds many certificates, or sets their status, in one transaction.

        Args:
            instance: Instance that holds those that name none, added if there is none.
            rows: The certificates; the CAs of device rows are active unless named.
        """
        named: dict[tuple[str, str], str] = {}
        implied: dict[tuple[str, str], str] = {}

        def devices() -> Iterator[tuple[str, ...]]:
            for ca_sn, device_sn, status, _, other in rows:
                at = other or instance
                if device_sn:
                    implied[at, ca_sn] = "1"
                    if status:
                        yield at, ca_sn, device_sn, f"device-{device_sn}", *_validity(device_sn), status
                elif status:
                    named[at, ca_sn] = status

        self._db.execute("BEGIN")
        with self._db:
            self._db.execute("INSERT OR IGNORE INTO instances VALUES (?, ?, NULL)", (instance, ACCOUNT))
            self._db.executemany("INSERT OR REPLACE INTO devices VALUES (?, ?, ?, ?, ?, ?, ?)", devices())
            self._db.executemany(
                "INSERT INTO cas VALUES (?, ?, ?, '', '', '', ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET Status = excluded.Status",
                ((at, sn, f"ca-{sn}", *_validity(sn), status) for (at, sn), status in (implied | named).items()),
            )
        self._lists.clear()

    def states(self, instance: str) -> dict[tuple[str, ...], str]:
        """Returns the status of every certificate of an instance by its serials."""
        cas = self._db.execute("SELECT Sn, Status FROM cas WHERE Instance = ?", (instance,))
        devices = self._db.execute("SELECT CaSn, DeviceSn, Status FROM devices WHERE Instance = ?", (instance,))
        return {tuple(serials): status for *serials, status in (*cas, *devices)}


def _validity(sn: str) -> tuple[str, str]:
    """Returns begin and end of a certificate as the service spells them: from now on, for one to ten years.

    How long follows from the serial, so that not all end on one day.
    """
    begin, days = int(time.time() * 1000), 365 + crc32(sn.encode()) % (3650 - 365 + 1)
    return str(begin), str(begin + days * 24 * 60 * 60 * 1000)

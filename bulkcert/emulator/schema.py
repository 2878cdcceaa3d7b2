"""Tables of the emulator's database, and views that name the columns as the service does (reference, section 1.1)."""

import sqlite3
from pathlib import Path

from bulkcert.errors import BulkcertError, ExitStatus

FORMAT = 1
"""Version of the schema, kept in the file as ``user_version``."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS instances (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS access_keys (
    id TEXT PRIMARY KEY,
    secret TEXT NOT NULL,
    account TEXT NOT NULL,
    token TEXT,
    expires_at REAL,
    enabled INTEGER NOT NULL,
    denied TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS codes (
    instance TEXT NOT NULL,
    code TEXT NOT NULL,
    used INTEGER NOT NULL,
    PRIMARY KEY (instance, code)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS cas (
    instance TEXT NOT NULL,
    sn TEXT NOT NULL,
    name TEXT NOT NULL,
    content TEXT NOT NULL,
    verification_content TEXT NOT NULL,
    registration_code TEXT NOT NULL,
    valid_begin TEXT NOT NULL,
    valid_end TEXT NOT NULL,
    status TEXT NOT NULL,
    PRIMARY KEY (instance, sn)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS devices (
    instance TEXT NOT NULL,
    ca_sn TEXT NOT NULL,
    device_sn TEXT NOT NULL,
    name TEXT,
    valid_begin TEXT NOT NULL,
    valid_end TEXT NOT NULL,
    status TEXT NOT NULL,
    PRIMARY KEY (instance, ca_sn, device_sn)
) WITHOUT ROWID;

CREATE VIEW IF NOT EXISTS ca_objects AS SELECT
    instance,
    sn AS Sn,
    name AS CaName,
    content AS CaContent,
    verification_content AS VerificationContent,
    registration_code AS RegistrationCode,
    valid_begin AS ValidBegin,
    valid_end AS ValidEnd,
    status AS Status
FROM cas;

CREATE VIEW IF NOT EXISTS device_objects AS SELECT
    instance,
    device_sn AS DeviceSn,
    ca_sn AS CaSn,
    COALESCE(name, 'device-' || device_sn) AS DeviceName,
    '-----BEGIN DEVICECERTIFICATE-----' || char(10) || '-----END DEVICECERTIFICATE-----' || char(10) AS DeviceContent,
    valid_begin AS ValidBegin,
    valid_end AS ValidEnd,
    status AS Status
FROM devices;
"""


def open_database(path: Path | None) -> sqlite3.Connection:
    """Returns a connection to a database that has the tables; each statement is its own transaction.

    Nothing is ever synced to the disk: what was answered survives the end of the program, but not that of the machine.

    Args:
        path: SQLite file, created if missing; None for memory.

    Raises:
        BulkcertError: The file cannot be used.
    """
    try:
        database = sqlite3.connect(path or ":memory:", isolation_level=None, timeout=1)
        try:
            _prepare(database)
        except BaseException:
            database.close()
            raise
    except sqlite3.Error as error:
        raise BulkcertError(
            ExitStatus.CANNOT_WRITE,
            f"The emulator cannot use the database {path}: {error}.",
            "Check that its directory exists and is writable, and that no other emulator uses the file.",
        ) from error
    return database


def _prepare(database: sqlite3.Connection) -> None:
    # The lock is held for good, so a second emulator on the same file fails at its start and not in its midst.
    database.executescript("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;")
    if database.execute("PRAGMA user_version").fetchone()[0] not in (0, FORMAT):
        raise sqlite3.DatabaseError("it was made by another version of bulkcert")
    database.executescript(f"{SCHEMA} PRAGMA user_version = {FORMAT};")
    database.row_factory = sqlite3.Row

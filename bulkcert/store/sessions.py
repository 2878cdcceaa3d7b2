"""What a store keeps whole: what was asked, by whom it was approved and changed, and what a session does."""

import os
from pathlib import Path
from typing import Any, Literal

import msgspec

from bulkcert.words import endpoints_in_words, instances_in_words, tr

SessionKind = Literal["run", "verify", "undo"]

Request = Literal["rate", "pause", "continue", "stop"]


class Asked(msgspec.Struct, frozen=True):
    """What a run is of; a session that resumes it must match all of the first part.

    Attributes:
        run: ID of the run, the same in all its sessions.
        action: Name of the action.
        instance: ``MqttInstanceId``; empty where rows name it.
        endpoint: Where the service is; empty where that follows from the rows' regions.
        rows: Rows of the list.
        keys_sha256: Of the serials of all rows, and of their instances if there are several, in order, in hexadecimal.
        sha256: Of the bytes of the list as they were read.
        pinned_sha256: Of those of the pinned list.
        inputs: The files of the list, as they were named.
        results: The results file.
        directory: Where the command was started; relative paths count from there.
        columns: The list's own columns.
        device_column: The column of the device serials; None for an action on CAs.
        ca_column: The column of the CA serials.
        version: Of bulkcert.
        rehearsal: Whether it is a run against an emulator that is gone by now.
        protected_by: Name of the list that protects rows; empty without one.
        spares_cas: Whether what that list protects is, or may be, under one of the CAs of the rows.
        instances: The instances that rows name, if they are several, each with where it is.
        instance_column: The column that names them; None where all rows are of one.
    """

    run: str
    action: str
    instance: str
    endpoint: str
    rows: int
    keys_sha256: str
    sha256: str
    pinned_sha256: str
    inputs: tuple[str, ...]
    results: str
    directory: str
    columns: tuple[str, ...]
    device_column: str | None
    ca_column: str
    version: str
    rehearsal: bool = False
    protected_by: str = ""
    spares_cas: bool = False
    instances: dict[str, str] = {}
    instance_column: str | None = None

    @property
    def on(self) -> str:
        """The instance, or how many there are, in words."""
        return instances_in_words(self.instance, self.instances)

    @property
    def at(self) -> str:
        """Where it is, in words."""
        return endpoints_in_words(self.endpoint, self.instances)

    @property
    def real_results(self) -> str:
        """Where the results are, from any directory."""
        return os.path.realpath(Path(self.directory, self.results))


class PlanRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The plan that a session is bound to.

    Attributes:
        sha256: Of its bytes, in hexadecimal.
        made_at: When it was made, UTC.
        made_by: Account and machine.
        to_change: Rows that sessions which are bound to it may change at most.
        devices: Devices under the CAs of an action on CAs; None for other actions, or where not all were counted.
        all_read: Whether it has read the state of every row that may be called.
        signed_by: Who has signed it, by the file of those who may approve; empty where that was not asked for.
        signed_with: Fingerprint of the key.
    """

    file: str
    sha256: str
    made_at: str
    made_by: str
    to_change: int
    devices: int | None
    all_read: bool
    signed_by: str = ""
    signed_with: str = ""


class ChangeRecord(msgspec.Struct, frozen=True):
    """Why a session changes certificates, and who has approved that, as it was given; empty texts where it was not."""

    ticket: str = ""
    reason: str = ""
    approved_by: str = ""
    plan: PlanRecord | None = None


class Control(msgspec.Struct, frozen=True):
    """What an operator asked of a session while it was running; times are Unix milliseconds.

    Attributes:
        id: Its number, from 1.
        rate: Calls per second of the account that are to hold from then on; null unless that is what was asked.
        per_address_rate: Those of each address, likewise.
        user: Who asked.
        taken_at: When the session did it; null until then.
    """

    id: int
    session: int
    request: Request
    rate: int | None
    per_address_rate: int | None
    user: str
    host: str
    pid: int
    asked_at: int
    taken_at: int | None

    @property
    def by(self) -> str:
        """Who asked."""
        return f"{self.user} on {self.host}"

    @property
    def words(self) -> str:
        """What was asked, in words."""
        if self.request != "rate":
            return tr(self.request)
        rates = {"account": self.rate, "address": self.per_address_rate}
        return tr("rate: {account}/s for the account, {address}/s for an address", **rates)


class Limits(msgspec.Struct, frozen=True):
    """How fast a session may be, as it was given: calls per second, and the addresses that it sends from, if any."""

    rate: int
    per_address_rate: int
    source_address: tuple[str, ...]


class Session(msgspec.Struct, frozen=True):
    """One start of a command, as its row says; times are Unix milliseconds.

    Attributes:
        id: Its number, from 1.
        options: As they were given, for a later session that resumes it.
        user: Account that it runs as.
        version: Of bulkcert.
        access_key_id: What signs its calls; never the secret.
        credentials: Where that came from.
        started_at: When it began.
        preflight_at: When the states before its calls were read, or were to be; null if it has not reached calls.
        beat_at: Its last sign of life.
        figures: Its newest live figures (``engine.figures.Stats``); null before the first.
        ended_at: When it ended in order; null if it has not.
        stopped: Why it ended early, or an empty text.
        stop_code: Code of the service's answer that stopped it; empty where it was no answer.
        verification: What it has read back; null unless it verifies, and has come to its end.
    """

    id: int
    kind: SessionKind
    options: dict[str, Any]
    pid: int
    host: str
    user: str
    version: str
    access_key_id: str
    credentials: str
    started_at: int
    preflight_at: int | None
    beat_at: int | None
    figures: dict[str, Any] | None
    ended_at: int | None
    exit_status: int | None
    stopped: str
    advice: str
    stop_code: str
    verification: "Verification | None"

    @property
    def limits(self) -> Limits:
        """How fast it may be: part of its options."""
        return msgspec.convert(self.options, Limits)

    @property
    def change(self) -> ChangeRecord:
        """Why it changes certificates, and who has approved that: part of its options."""
        return msgspec.convert(self.options, ChangeRecord)


OF_JSON = ("options", "figures", "verification")
"""Fields of a session that its row has as JSON."""


class Verification(msgspec.Struct, frozen=True):
    """What a session that verifies has read back.

    Attributes:
        finished: UTC.
        statuses: Rows by the status in which this session read them, a watch in its last round, and that were not
            called after that. Whatever an earlier one has read does not count.
        wanted: Rows in the desired state.
        not_desired: Rows that were read, and are in another state.
        calls: Requests sent, those of certificates that were called again included.
        called_again: Rows that were found in another state and called again, without those whose call was refused.
        exit_status: Of the command.
        stopped: Why it ended early, or an empty text.
        unread: All other rows but the duplicates: what they are is not known.
        unread_because: The same by the reason: ``invalid`` and ``protected`` are never read; ``refused``;
            ``called_again`` after they were read; ``not_reached`` before it ended.
        refusal: The newest answer to a row that was refused, or an empty text.
    """

    finished: str
    statuses: dict[str, int]
    wanted: int
    not_desired: int
    calls: int
    called_again: int
    exit_status: int
    stopped: str
    unread: int = 0
    unread_because: dict[str, int] = {}
    refusal: str = ""

    @property
    def is_proof(self) -> bool:
        """Whether it came to its end, and read the state of some row if there was one to be read."""
        return not self.stopped and (bool(self.statuses) or not self.unread)

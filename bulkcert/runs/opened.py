"""A run whose lock is held and whose store is open: what every session of it starts from."""

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

import httpx
import msgspec
import polars as pl

from bulkcert import __version__
from bulkcert.engine.target import Target
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.input import CA_SN, DEVICE_SN, INSTANCE, ROW, PinnedList, annotated
from bulkcert.output.evidence import serials_in
from bulkcert.output.files import cannot_write, sha256_of, sync_directory, sync_file
from bulkcert.output.results import Written, write_results
from bulkcert.runs.converters import Problems
from bulkcert.runs.options import NotifyOptions, ServiceOptions
from bulkcert.runs.target import resolve_target
from bulkcert.service.actions import ACTIONS, Action
from bulkcert.service.regions import same_service
from bulkcert.service.signing import Credentials
from bulkcert.store import queries
from bulkcert.store.evidence import Serials
from bulkcert.store.lock import this_user
from bulkcert.store.outcome import Row
from bulkcert.store.paths import RunFiles
from bulkcert.store.sessions import Asked, PlanRecord, Session, SessionKind
from bulkcert.store.status import RunStatus, status_in
from bulkcert.store.store import Store

CALLING: tuple[SessionKind, ...] = ("run", "undo")
"""Sessions that change what a run has come to."""


def limited(batches: Iterator[list[Row]], most: int | None) -> Iterator[list[Row]]:
    """Yields the first rows, no more than so many; None is no limit."""
    for batch in batches:
        yield batch[:most]
        if most is not None and (most := most - len(batch)) <= 0:
            return


class OpenRun(msgspec.Struct):
    """A run whose lock is held and whose store is open; nothing is kept before a session begins.

    Attributes:
        files: Its files.
        lock: The lock.
        store: The store.
        asked: What it is of.
        pinned: Its list.
        is_new: Whether nothing counts that earlier sessions have done.
    """

    files: RunFiles
    lock: FileIO
    store: Store
    asked: Asked
    pinned: PinnedList
    is_new: bool = False

    @property
    def action(self) -> Action:
        """What was asked for each row."""
        return ACTIONS[self.asked.action]

    def newest(self, *kinds: SessionKind) -> Session | None:
        """Returns the newest session of one of these kinds, or None."""
        return next((each for each in reversed(self.store.read(queries.sessions)) if each.kind in kinds), None)

    @property
    def plan(self) -> PlanRecord | None:
        """The plan that the newest session of the run is bound to, and so all that resume it; None without one."""
        session = self.newest("run")
        return None if session is None else session.change.plan

    def is_unended(self, kind: SessionKind) -> bool:
        """Returns whether the newest session that called is of a kind and was killed, as long as none has begun."""
        doing = self.newest(*CALLING)
        return doing is not None and doing.kind == kind and doing.ended_at is None

    def frames(self, *, without: str = queries.NEVER_CALLED) -> Iterator[pl.DataFrame]:
        """Yields rows in order, with ``ROW``, ``DEVICE_SN`` and ``CA_SN``; by default those that may be called.

        Args:
            without: A condition of ``queries``: rows for which it holds are left out.
        """
        for frame in annotated(self.pinned, own=False):
            if frame.height:
                yield frame.filter(~is_in(self.store.read(queries.rows, without, frame[ROW][0], frame[ROW][-1])))

    def batches(self, *, without: str = queries.NEVER_CALLED) -> Iterator[list[Row]]:
        """Yields the same as they are called."""
        return map(self.rows, self.frames(without=without))

    def rows(self, frame: pl.DataFrame) -> list[Row]:
        """Returns rows of a frame as they are called."""
        if not frame.height:
            return []
        earlier = self.store.read(queries.earlier, frame[ROW][0], frame[ROW][-1])
        return [
            Row(row, device_sn, ca_sn, *earlier.get(row, (None, False)), instance)
            for row, device_sn, ca_sn, instance in fields_of(frame, self.action)
        ]

    def serials(self, rows: list[int]) -> dict[int, Serials]:
        """Returns the serials of some rows."""
        return {
            row: serials
            for frame in annotated(self.pinned, first_row=min(rows), last_row=max(rows), own=False)
            for row, serials in serials_in(frame.filter(is_in(rows)))
        }

    def write_results(self, *, guards: bool = True, into: BinaryIO | None = None) -> Written:
        """Writes the results, for programs where the run or the caller says so (``output.results.write_results``)."""
        guards = guards and self.store.read(queries.guards)
        return write_results(self.files.results, self.pinned, self.store.read, guards=guards, into=into)

    def target(self, options: ServiceOptions, problems: Problems) -> Target:
        """Returns the service of the run; what options do not name is where it was made.

        Raises:
            BulkcertError: INPUT_INVALID: they name another instance, or lead to another service.
        """
        asked = self.asked
        confirm_instance(self.files, asked, options.instance)
        endpoint = options.endpoint or ("" if options.region else asked.endpoint)
        there = replace(options, instance=asked.instance, endpoint=endpoint)
        service = resolve_target(there, problems, named_by_rows=True)  # none of its rows may have one
        if not problems and not same_service(str(service.endpoint), asked.endpoint):
            text = f"from {asked.at}, not from {service.endpoint}"
            raise _elsewhere(self.files, text, "--endpoint and --region")
        endpoints = {instance: httpx.URL(str(service.endpoint) or at) for instance, at in asked.instances.items()}
        return msgspec.structs.replace(service, instances=endpoints)

    def begin(self, kind: SessionKind, options: Any, credentials: Credentials | None, **more: object) -> None:
        """Begins a session of this process; on disk when it returns, with all that was drafted.

        Args:
            kind: What it does.
            options: As given: a dataclass.
            credentials: What signs its calls; None if it makes none.
            more: Options that are not in the dataclass.

        Raises:
            BulkcertError: CANNOT_WRITE.
        """
        try:
            if self.is_new:
                sync_file(self.pinned.path)
                sync_directory(self.files.folder)
        except OSError as error:
            raise cannot_write(self.pinned.path, error, folder_of=self.files) from error
        secret = NotifyOptions.__dataclass_fields__
        given = {name: value for name, value in asdict(options).items() if name not in secret}
        self.store.begin(
            kind,
            # Paths so that a later session finds them from anywhere.
            msgspec.json.encode(given | more, enc_hook=lambda path: str(path.absolute())).decode(),
            pid=os.getpid(),
            host=socket.gethostname(),
            user=this_user(),
            version=__version__,
            access_key_id=credentials.access_key_id if credentials else "",
            credentials=credentials.source if credentials else "",
        )
        with suppress(OSError):  # what a killed start has left is of no use, and in nobody's way
            for path in self.files.folder.glob("input-*"):
                if path != self.pinned.path:
                    path.unlink()

    def status(self, *, brief: bool = True) -> RunStatus:
        """Returns the status of the run, as its store says (``store.status.status_in``)."""
        return self.store.read(lambda db: status_in(self.files, db, brief=brief))

    def close(self) -> None:
        """Gives the run up; of one that no session has begun nothing is left."""
        begun = self.store.session > 0
        self.store.close()
        if self.is_new and not begun:
            remove(self.pinned.path)
        if self.store.was_empty and not begun:
            remove_folder(self.files)
        self.lock.close()


def confirm_real(files: RunFiles, asked: Asked, command: str) -> None:
    """Confirms that a run is none whose service was an emulator, which is gone by now.

    Raises:
        BulkcertError: USAGE: it is a rehearsal.
    """
    if asked.rehearsal:
        also = "" if command == "resume" else f" with --and-then {command}"
        raise BulkcertError(
            ExitStatus.USAGE,
            f"{files.results} is of a rehearsal, whose emulator is gone: there is nothing to {command}",
            f"No calls were made. Rehearse it again{also}.",
        )


def confirm_instance(files: RunFiles, asked: Asked, instance: str) -> None:
    """Confirms that an instance, if one is given, is that of a run.

    Raises:
        BulkcertError: INPUT_INVALID: it is another one, or one of several.
    """
    if instance and instance != asked.instance:
        whose = f"the instance {asked.instance}" if asked.instance else asked.on
        raise _elsewhere(files, f"of {whose}, not of {instance}", "--instance")


def _elsewhere(files: RunFiles, text: str, options: str) -> BulkcertError:
    return BulkcertError(
        ExitStatus.INPUT_INVALID,
        f"{files.results}: these results are {text}",
        f"Leave {options} out, in the job file and the environment as well. No calls were made.",
    )


def remove_folder(files: RunFiles) -> None:
    """Removes the folder of a run that never began, as far as that can be; its lock is held."""
    with suppress(OSError):
        for path in files.folder.iterdir():
            path.unlink()
        files.folder.rmdir()


def remove(path: Path) -> None:
    """Removes a file of ours that is of no use, as far as that can be; it is in nobody's way."""
    with suppress(OSError):
        path.unlink()


def fields_of(frame: pl.DataFrame, action: Action) -> Iterator[tuple[Any, ...]]:
    """Yields of annotated rows the number, both serials, and the instance; what there is none of is empty."""
    empty = pl.lit("")
    device = DEVICE_SN if action.by_device else empty.alias(DEVICE_SN)
    return frame.select(ROW, device, CA_SN, INSTANCE if INSTANCE in frame.columns else empty).iter_rows()


def is_in(rows: list[int]) -> pl.Expr:
    """Returns whether a row of a frame is one of these."""
    return pl.col(ROW).is_in(pl.Series(rows, dtype=pl.UInt32).implode())


def pinned_of(files: RunFiles, asked: Asked) -> PinnedList:
    """Returns the list of a run that was begun.

    Raises:
        BulkcertError: INPUT_UNREADABLE: it is not as it was written, or cannot be read.
    """
    pinned = PinnedList(
        files.pinned(asked.run), asked.rows, asked.columns, asked.device_column, asked.ca_column, asked.instance_column
    )
    with pinned.reading():
        if sha256_of(pinned.path) != asked.pinned_sha256:
            raise pinned.damaged("it is not as it was written")
    return pinned

"""A run whose lock is held and whose store is open: what every session of it starts from."""

import os
import pwd
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import polars as pl

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.input import CA_SN, DEVICE_SN, ROW, PinnedList, annotated
from bulkcert.output.files import cannot_write, sync_directory, sync_file
from bulkcert.runs.job import resolve_target
from bulkcert.runs.options import ServiceOptions
from bulkcert.service.actions import ACTIONS, Action
from bulkcert.service.signing import Credentials
from bulkcert.store import lock, queries
from bulkcert.store.lock import Lock
from bulkcert.store.outcome import Row
from bulkcert.store.paths import RunFiles
from bulkcert.store.schema import Asked, SessionKind
from bulkcert.store.status import no_run, status_in
from bulkcert.store.store import Store

CAS_KEPT = 100_000
"""CAs that are paged through, each for itself."""

Options = TypeVar("Options", bound=ServiceOptions)


@dataclass(slots=True)
class OpenRun:
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
    lock: Lock
    store: Store
    asked: Asked
    pinned: PinnedList
    is_new: bool = False

    @property
    def action(self) -> Action:
        """What was asked for each row."""
        return ACTIONS[self.asked.action]

    def is_unended(self, kind: SessionKind) -> bool:
        """Returns whether the newest session that called is of a kind and was killed, as long as none has begun."""
        doing = status_in(self.files, self.store.db).doing
        return doing is not None and doing.kind == kind and doing.ended_at is None

    def frames(self, *, only: Callable[[int, int], set[int]] | None = None) -> Iterator[pl.DataFrame]:
        """Yields the rows that may be called, in order, with ``ROW``, ``DEVICE_SN`` and ``CA_SN``.

        Args:
            only: Returns the rows of a range to be read; None for all.
        """
        for frame in annotated(self.pinned, own=False):
            if not frame.height:
                continue
            first, last = int(frame[ROW][0]), int(frame[ROW][-1])
            if only is not None:
                wanted = pl.Series(sorted(only(first, last)), dtype=pl.UInt32)
                yield frame.filter(pl.col(ROW).is_in(wanted.implode()))
            else:
                yield _without(frame, self.store.read(queries.never_called, first, last))

    def cas(self) -> list[str]:
        """Returns the CAs of the rows that may be called, those with most rows first; the first 100,000."""
        counts: Counter[str] = Counter()
        for frame in self.frames():
            counts.update(dict(frame[CA_SN].value_counts().iter_rows()))
        return [ca for ca, _ in counts.most_common(CAS_KEPT)]

    def where(self, options: Options) -> Options:
        """Returns options that lead to where the run was made.

        Raises:
            BulkcertError: They name another instance or lead to another service.
        """
        asked = self.asked
        if options.instance and options.instance != asked.instance:
            raise self._elsewhere(f"of the instance {asked.instance}, not of {options.instance}", "--instance")
        there = replace(options, instance=asked.instance)
        if not (options.endpoint or options.region):
            return replace(there, endpoint=asked.endpoint)
        problems: list[str] = []
        endpoint = str(resolve_target(there, problems).endpoint)
        if not problems and not same_service(endpoint, asked.endpoint):
            raise self._elsewhere(f"from {asked.endpoint}, not from {endpoint}", "--endpoint and --region")
        return there

    def _elsewhere(self, text: str, options: str) -> BulkcertError:
        return BulkcertError(
            ExitStatus.INPUT_INVALID,
            f"{self.files.results}: these results are {text}",
            f"Leave {options} out, in the job file and the environment as well. No calls were made.",
        )

    def to_call(self) -> Iterator[list[Row]]:
        """Yields the rows that the next session calls, in order."""
        for frame in annotated(self.pinned, own=False):
            if frame.height:
                first, last = int(frame[ROW][0]), int(frame[ROW][-1])
                yield self.rows(_without(frame, self.store.read(queries.left_alone, first, last)))

    def rows(self, frame: pl.DataFrame) -> list[Row]:
        """Returns rows of a frame as they are called."""
        if not frame.height:
            return []
        first, last = int(frame[ROW][0]), int(frame[ROW][-1])
        earlier = self.store.read(queries.earlier, first, last)
        device = DEVICE_SN if self.action.by_device else pl.lit("").alias(DEVICE_SN)
        found = frame.select(ROW, device, CA_SN).iter_rows()
        if not earlier:
            return [Row(*row) for row in found]
        return [Row(row, device_sn, ca_sn, *earlier.get(row, (None, False))) for row, device_sn, ca_sn in found]

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
            raise cannot_write(self.pinned.path, error) from error
        self.store.begin(
            kind,
            msgspec.json.encode(asdict(options) | more, enc_hook=_absolute).decode(),
            pid=os.getpid(),
            host=socket.gethostname(),
            user=this_user(),
            version=version("bulkcert"),
            access_key_id=credentials.access_key_id if credentials else "",
            credentials=credentials.source if credentials else "",
        )
        with suppress(OSError):  # what a killed start has left is of no use, and in nobody's way
            for path in self.files.folder.glob("input-*"):
                if path != self.pinned.path:
                    path.unlink()

    def close(self) -> None:
        """Gives the run up; of one that no session has begun nothing is left."""
        begun = self.store.session > 0
        self.store.close()
        with suppress(OSError):
            if self.is_new and not begun:
                self.pinned.path.unlink(missing_ok=True)
            if self.store.was_empty and not begun:
                remove_folder(self.files)
        self.lock.close()


def remove_folder(files: RunFiles) -> None:
    """Removes the folder of a run that never began; its lock is held.

    Raises:
        OSError: It cannot be removed.
    """
    for path in files.folder.iterdir():
        path.unlink()
    files.folder.rmdir()


def _absolute(path: Path) -> str:
    """Returns a path so that a later session finds it from anywhere."""
    return str(path.absolute())


def this_user() -> str:
    """Returns the account that this process runs as; its number where it has no name, as in a container."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _without(frame: pl.DataFrame, rows: list[int]) -> pl.DataFrame:
    return frame.filter(~pl.col(ROW).is_in(pl.Series(rows, dtype=pl.UInt32).implode())) if rows else frame


def same_service(endpoint: str, other: str) -> bool:
    """Returns whether two endpoints lead to one service: a region's two hosts, public and VPC, do."""
    return endpoint.replace("//onsmqtt-vpc.", "//onsmqtt.") == other.replace("//onsmqtt-vpc.", "//onsmqtt.")


def pinned_of(files: RunFiles, asked: Asked) -> PinnedList:
    """Returns the list of a run that was begun."""
    return PinnedList(
        files.pinned(asked.run),
        asked.rows,
        asked.columns,
        asked.device_column,
        asked.ca_column,
        ((asked.inputs[0], 1),),
    )


def open_existing(files: RunFiles) -> OpenRun:
    """Opens a run that was begun, from its store alone.

    Raises:
        NoRunError: There is none.
        BulkcertError: Another process holds it, or it cannot be read or written.
    """
    if not files.store.exists():
        if lock.is_held(files.lock):
            raise lock.held(files.lock)
        raise no_run(files)
    try:
        held = lock.take(files.lock)
    except OSError as error:
        raise cannot_write(files.folder, error) from error
    try:
        store = Store(files.store)
    except BaseException:
        held.close()
        raise
    try:
        asked = _asked(files, store)
        confirm_own(files, asked)
    except BaseException:
        store.close()
        held.close()
        raise
    return OpenRun(files, held, store, asked, pinned_of(files, asked))


def _asked(files: RunFiles, store: Store) -> Asked:
    if store.is_new:
        raise no_run(files)
    return queries.asked(store.db)


def confirm_own(files: RunFiles, asked: Asked) -> None:
    """Confirms that a folder which is kept elsewhere is of these results, not of some of the same name.

    Raises:
        BulkcertError: CANNOT_WRITE: it is of others.
    """
    if files.state_dir is not None and asked.real_results != os.path.realpath(files.results):
        raise BulkcertError(
            ExitStatus.CANNOT_WRITE,
            f"{files.folder} is of the run of other results, {asked.real_results}",
            "No calls were made. Name other results with -o, or another --state-dir. If those were moved, move the "
            "folder beside them, and omit --state-dir.",
        )

"""The files of a run: where its folder is, what lies in it, and what is next to the results."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import msgspec

from bulkcert.formats import LISTS, list_suffix

SUFFIX = ".run"
"""What the folder of a run adds to the name of its results."""

STORE = "store.sqlite"


def files_of(store: Path) -> list[Path]:
    """Returns a store with what SQLite keeps next to it, the store last."""
    return [store.with_name(f"{store.name}{end}") for end in ("-wal", "-shm", "-journal", "")]


class RunFiles(msgspec.Struct, frozen=True):
    """The files of one run; whoever names, finds or removes one asks here.

    Attributes:
        results: The results file.
        state_dir: Directory that holds the folder of the run; None for that of the results.
    """

    results: Path
    state_dir: Path | None = None

    @classmethod
    def named_by(cls, path: Path, state_dir: Path | None = None) -> Self:
        """Returns those of the run that is named by its results, by its folder, or by a file in that folder."""
        for folder in (path, path.parent):
            if folder.name.endswith(SUFFIX) and folder.name != SUFFIX:
                return cls(folder.with_name(folder.name.removesuffix(SUFFIX)), state_dir)
        return cls(path, state_dir)

    @property
    def folder(self) -> Path:
        """The folder of the run, mode 0700."""
        parent = self.results.parent if self.state_dir is None else self.state_dir
        return parent / f"{self.results.name}{SUFFIX}"

    @property
    def store(self) -> Path:
        """The store."""
        return self.folder / STORE

    def pinned(self, run: str) -> Path:
        """The list of a run as it was read, with its own columns; ``run`` is its ID."""
        return self.folder / f"input-{run}.parquet"

    @property
    def summary(self) -> Path:
        """What the run came to: a view of the store."""
        return self.folder / "summary.json"

    @property
    def lock(self) -> Path:
        """Held by the one process that writes."""
        return self.folder / "lock"

    @property
    def report(self) -> Path:
        """The report, unless another file is named."""
        return self.results.parent / f"{self.results.name}.report.html"

    @property
    def failed(self) -> Path:
        """The rows that are not in the desired state; there is none while all of them are."""
        return self.results.parent / f"{self.results.name}.failed.csv"

    @property
    def kept(self) -> tuple[Path, ...]:
        """What no other product may replace; the folder means all that is in it."""
        return self.results, self.failed, self.folder

    def remove_store(self) -> None:
        """Removes the store with what SQLite keeps next to it.

        Raises:
            OSError: It cannot be removed.
        """
        for path in files_of(self.store):
            path.unlink(missing_ok=True)

    def command(self, name: str, *options: str) -> str:
        """Returns a command that is about the run, for a shell: ``bulkcert resume results.csv``."""
        state = ["--state-dir", str(self.state_dir)] if self.state_dir is not None else []
        return shlex.join(["bulkcert", name, str(self.results), *options, *state])

    def everything(self) -> Iterator[Path]:
        """Yields all that bulkcert has written of the run and that is there; the store, which is the run, last."""
        yield from (path for path in (self.results, self.failed, self.report) if path.exists())
        yield from sorted(self.folder.iterdir(), key=lambda path: (path == self.store, path == self.lock))
        yield self.folder


def default_results(path: Path, action: str) -> Path:
    """Returns where results go by default: ``devices.csv.gz`` → ``devices.inactivate-device.results.csv``.

    Args:
        path: The list, or the first file of it.
        action: Name of the action.
    """
    suffix = list_suffix(path)
    stem = path.name[: len(path.name) - len(suffix)]
    return path.parent / f"{stem}.{action}.results.{LISTS[suffix].kind if suffix else 'csv'}"

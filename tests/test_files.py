"""Files appear whole, whatever stands where they, or what they are made of, would go."""

import errno
import os
import secrets
import stat
import subprocess
import tempfile
from itertools import chain
from pathlib import Path

import pytest
from program import here, write_devices

from bulkcert.fleet import lane
from bulkcert.output.files import cannot_write, read_regular, whole, write_whole
from bulkcert.store.paths import RunFiles


def plant(kind, path, victim):
    victim.write_text("precious")
    if kind == "symlink":
        path.symlink_to(victim)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        path.write_text("planted")
        path.chmod(0o666)


@pytest.mark.parametrize("kind", ["symlink", "fifo", "file", "directory"])
def test_planted_under_a_random_name(tmp_path, monkeypatch, kind):
    """Even a name that was guessed is not opened."""
    monkeypatch.setattr(secrets, "token_hex", lambda _bytes: "0" * 12)
    plant(kind, tmp_path / ".x.csv.000000000000.part", tmp_path / "victim")

    with pytest.raises(FileExistsError):
        write_whole(tmp_path / "x.csv", b"content")

    assert (tmp_path / "victim").read_text() == "precious"
    assert not (tmp_path / "x.csv").exists()


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_mode_whatever_the_umask(tmp_path, mode):
    """A file has the mode that is asked for, also in the place of one that had another."""
    path = tmp_path / "x"
    path.write_text("old")
    path.chmod(0o666)
    before = os.umask(0o077)
    try:
        write_whole(path, b"new", mode=mode)
    finally:
        os.umask(before)

    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"new", mode)


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_nothing_is_left_of_a_failure(tmp_path, failure):
    """Whatever ends the making of a file, what was there stays, and nothing else."""
    path = tmp_path / "x"
    path.write_text("old")

    def make():
        with whole(path) as file:
            file.write(b"half")
            assert path.read_text() == "old"
            raise failure

    with pytest.raises(failure):
        make()

    assert [(found.name, found.read_text()) for found in tmp_path.iterdir()] == [("x", "old")]


def test_nothing_is_left_where_the_name_is_taken(tmp_path):
    """A directory under the name is an error, and no file is left."""
    (tmp_path / "x").mkdir()

    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path / "x", b"content")

    assert [found.name for found in tmp_path.iterdir()] == ["x"]


def test_what_was_killed_is_removed_and_what_is_made_stays(tmp_path):
    """What a killed process has left goes when the same file is made again; what somebody makes right now does not."""
    path = tmp_path / "x.csv"
    killed, foreign = tmp_path / ".x.csv.000000000000.part", tmp_path / ".x.csv.notes.part"
    killed.touch()
    foreign.touch()

    with whole(path) as making:
        write_whole(path, b"content")

        assert {found.name for found in tmp_path.iterdir()} == {"x.csv", foreign.name, Path(making.name).name}


def test_a_name_as_long_as_names_may_be(tmp_path):
    """The temporary name is not longer than names may be."""
    write_whole(tmp_path / ("é" * 127), b"content")

    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("kind", ["symlink", "fifo", "directory"])
def test_only_files_are_read(tmp_path, kind):
    """What is no file is not read, and not waited for."""
    plant(kind, tmp_path / "x", tmp_path / "victim")

    with pytest.raises(OSError, match=r"not a file|symbolic links"):
        read_regular(tmp_path / "x")


@pytest.mark.parametrize("place", ["d.csv", "x" * 300])
def test_a_directory_that_is_none(tmp_path, place):
    """A run is looked for below a file, or a name too long: there is none; a report is not written over a directory."""
    (tmp_path / "d.csv").write_text("")
    for command in ("verify", "export", "report", "status", "undo"):
        here(command, "r.csv", "--state-dir", place, cwd=tmp_path).ended(66)
    here("export", "", "-o", "a.csv", cwd=tmp_path).ended(66)
    with pytest.raises(IsADirectoryError), whole(Path()):
        pass


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.EROFS, "mounted read-only"),
        (errno.EACCES, "You may not write there"),
        (errno.ENOTDIR, "Create the directory"),
        (errno.ENOSPC, "Make room"),
    ],
)
def test_advice_by_the_system_error(tmp_path, number, advice):
    """Each obstacle has its own advice, and nothing but a full disk needs room; who knows better says so."""
    error = cannot_write(tmp_path / "x.csv", OSError(number, "why"))

    assert advice in error.advice
    assert ("Make room" in error.advice) == (number == errno.ENOSPC)
    assert cannot_write("x", OSError(number, "why"), "Do this.").advice == "Do this."


@pytest.mark.usefixtures("inside")
@pytest.mark.parametrize("command", ["plan", "rehearse", "lane"])
def test_no_place_for_temporary_files(service, monkeypatch, command):
    """As in a container whose only file system is read-only: it is said, with what to do (73)."""
    write_devices("d.csv", 3)

    async def reached(*_):
        return ""

    def refused(**_):
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "TemporaryDirectory", refused)
    monkeypatch.setattr(lane, "reach", reached)
    what = ("tcp://127.0.0.1:9",) if command == "lane" else ("inactivate-device", "d.csv", *service.looking[:4])
    said = here(command, *what).ended(73).stderr
    assert "cannot write temporary files: no directory for them can be written\n  → Make room, or let TMPDIR" in said


# What runs leave behind is not for the repository.

ROOT = Path(__file__).parent.parent
RUNS = [RunFiles(Path("jobs", name)) for name in ("x.results.csv", "x.rehearsal.parquet", "r.csv")]
OF_EACH = [(run.store, run.pinned("1"), run.summary, run.lock, run.report, run.failed) for run in RUNS]
LEFT = [str(path) for path in (RUNS[0].results, RUNS[1].results, *chain(*OF_EACH))]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no working tree of git")
def test_ignored():
    """Results, the folders of runs and reports are ignored; jobs and their sample are not."""
    asked = ("git", "check-ignore", "--no-index", *LEFT, "jobs/sample-devices.csv", "jobs/mass-revocation.toml")

    ignored = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()

    assert ignored == LEFT

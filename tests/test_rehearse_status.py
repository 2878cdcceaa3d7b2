"""``rehearse``: its exit status is that of the first of its parts that went wrong."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from bulkcert.commands import rehearse as command
from bulkcert.rehearsal import Stage


@pytest.mark.parametrize(
    ("run", "verified", "undone", "status"),
    [(0, 0, 0, 0), (0, 1, 0, 1), (0, 0, 69, 69), (1, 0, 69, 1), (0, 1, 69, 1)],
)
def test_the_first_that_went_wrong(monkeypatch, run, verified, undone, status):
    """A run that went well makes no success of a verification or an undo that did not."""

    @contextmanager
    def staged(*_arguments, **_options):
        yield SimpleNamespace(
            fault_seed=None, job=None, keyring=lambda: None, emulator=SimpleNamespace(report=lambda: None)
        )

    for name, exit_status in (("execute", run), ("_verified", verified), ("_undone", undone)):
        ended = SimpleNamespace(exit_status=exit_status)
        monkeypatch.setattr(command, name, lambda *_arguments, ended=ended, **_options: ended)
    monkeypatch.setattr(command, "staged", staged)
    monkeypatch.setattr(command.terminal, "show", lambda _rows: None)

    assert command.rehearse("inactivate-device", None, stage=Stage(then=("verify", "undo"))) == status

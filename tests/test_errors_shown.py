"""What is shown when something ends a command: what happened, and the one command that continues."""

import errno
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.live import Live

from bulkcert.commands.calling import leave_writing
from bulkcert.engine.session import unwrapped
from bulkcert.errors import BulkcertError, ExitStatus, SignalError
from bulkcert.output.files import cannot_write
from bulkcert.views import console, errors

RESUME = "bulkcert resume r.csv"


@pytest.fixture(autouse=True)
def typed(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["bulkcert", "run", "inactivate-device", "my list.csv"])


@pytest.mark.parametrize("again", [True, False])
@pytest.mark.parametrize("resume", [None, "", RESUME])
@pytest.mark.parametrize("kind", [BulkcertError, KeyboardInterrupt, RuntimeError])
def test_the_command_that_continues(capsys, kind, resume, again):
    """The one that resumes where a run had begun; else the same command, where it may help; never both, nor a guess."""
    error = BulkcertError(ExitStatus.DENIED, "odd", again=again) if kind is BulkcertError else kind("odd")
    if resume is not None:
        error.add_note(errors.WayOn(resume))
    status = errors.show_failure(error)

    said = capsys.readouterr().err
    assert status == {BulkcertError: 77, KeyboardInterrupt: 130, RuntimeError: 70}[kind]
    assert (f"to resume: {RESUME}\n" in said) == bool(resume)
    tried_again = kind is BulkcertError and again and not resume
    assert ("to try again: bulkcert run inactivate-device 'my list.csv'\n" in said) == tried_again
    assert ("No calls were made." in said) == (resume == "" and kind is not RuntimeError)
    assert ("Please report this" in said) == (kind is RuntimeError)


@pytest.mark.parametrize(("number", "again"), [(errno.ENOSPC, True), (errno.ENOENT, False), (errno.EACCES, False)])
def test_what_must_fail_again_is_not_repeated(capsys, number, again):
    """Where a file cannot be because of its name, another name is asked for, and not the same command."""
    errors.show_error(cannot_write(Path("/none/r.csv"), OSError(number, "odd")))

    assert ("to try again" in capsys.readouterr().err) == again


@pytest.mark.parametrize("in_flight", [0, 3])
def test_a_second_signal_on_a_terminal(monkeypatch, capsys, in_flight):
    """The error is the last that is written: what was drawn in place is not drawn again."""
    monkeypatch.setattr(console.stderr, "_force_terminal", True)
    monkeypatch.setattr("os._exit", lambda status: (_ for _ in ()).throw(SystemExit(status)))
    files, asked = SimpleNamespace(command=lambda _: RESUME), SimpleNamespace(rehearsal=False)
    opened = SimpleNamespace(store=SimpleNamespace(session=1), files=files, asked=asked)
    with Live("the bar", console=console.stderr, auto_refresh=False), pytest.raises(SystemExit) as ended:
        leave_writing(opened, SimpleNamespace(in_flight=in_flight), signal.SIGINT)

    said = capsys.readouterr().err
    assert ended.value.code == 130
    assert "the bar" in said
    assert said.endswith(f"{RESUME}\n")
    assert ("in flight" in said) == bool(in_flight)


def test_what_happened_inside_a_group(capsys):
    """An error beside other work is named, not the group that it came in."""
    assert errors.show_failure(ExceptionGroup("all", [ExceptionGroup("some", [ValueError("the cause")])])) == 70
    assert "internal error: ValueError: the cause" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("members", "raised"),
    [
        ([SignalError(signal.SIGTERM)], SignalError),
        ([ValueError(), ExceptionGroup("some", [ValueError()]), SignalError(signal.SIGHUP)], SignalError),
        ([ExceptionGroup("some", [BulkcertError(ExitStatus.DENIED, "no")])], BulkcertError),
        ([BulkcertError(ExitStatus.DENIED, "no"), ValueError()], ExceptionGroup),
    ],
    ids=["a signal", "a signal and more", "an error of ours", "an error of ours and another"],
)
def test_what_ends_work_next_to_other_work(members, raised):
    """A signal comes as one, whenever it comes; an error that was not foreseen is hidden by none that was."""
    with pytest.raises(raised), unwrapped():
        raise BaseExceptionGroup("all", members)

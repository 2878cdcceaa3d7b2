"""What is shown when something ends a command: what happened, and the one command that continues."""

import sys

import pytest

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.views import console

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
        error.add_note(console.WayOn(resume))
    status = console.show_failure(error)

    said = capsys.readouterr().err
    assert status == {BulkcertError: 77, KeyboardInterrupt: 130, RuntimeError: 70}[kind]
    assert (f"to resume: {RESUME}\n" in said) == bool(resume)
    tried_again = kind is BulkcertError and again and not resume
    assert ("to try again: bulkcert run inactivate-device 'my list.csv'\n" in said) == tried_again
    assert ("No calls were made." in said) == (resume == "" and kind is not RuntimeError)
    assert ("Please report this" in said) == (kind is RuntimeError)


def test_what_happened_inside_a_group(capsys):
    """An error beside other work is named, not the group that it came in."""
    assert console.show_failure(ExceptionGroup("all", [ExceptionGroup("some", [ValueError("the cause")])])) == 70
    assert "internal error: ValueError: the cause" in capsys.readouterr().err

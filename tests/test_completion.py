"""Completion in a real shell."""

import shutil
import subprocess

import pytest
from program import bulkcert, environment

BASH = shutil.which("bash")
WORD = """
. "$HOME/.local/share/bash-completion/completions/bulkcert"
COMP_WORDS=(bulkcert {words}); COMP_CWORD={last}; _bulkcert; printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def completed(home, *words):
    """Returns what bash offers for the last of some words."""
    script = WORD.format(words=" ".join(f"'{word}'" for word in words), last=len(words))
    done = subprocess.run([BASH, "-c", script], env=environment({"HOME": str(home)}), capture_output=True, check=True)
    return done.stdout.decode().split()


@pytest.mark.skipif(BASH is None, reason="needs bash")
def test_completion(tmp_path):
    """Once installed, a shell completes commands, options and their choices."""
    bulkcert("--install-completion", env={"HOME": str(tmp_path), "SHELL": BASH}).ended(0)

    assert completed(tmp_path, "ve") == ["verify"]
    assert "--preflight" in completed(tmp_path, "run", "--pre")
    assert completed(tmp_path, "run", "--preflight", "al") == ["always"]
    assert set(completed(tmp_path, "run", "")) >= {"inactivate-device", "delete-ca"}


def test_completion_that_cannot_be_installed(tmp_path):
    """Where the home directory cannot be written, the error says so."""
    (tmp_path / "home").write_text("a file")
    refused = bulkcert("--install-completion", env={"HOME": str(tmp_path / "home")}).ended(73)

    assert "completion was not installed" in refused.stderr

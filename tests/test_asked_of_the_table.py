"""What an action means is asked of the table, and what a problem means is carried with it, not read from its text."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest
from msgspec.structs import replace

from bulkcert.errors import BulkcertError
from bulkcert.output.advice import _BY_OUTCOME, Advice
from bulkcert.output.steps import UNREAD, _before_resuming
from bulkcert.runs.undo import no_inverse
from bulkcert.runs.verify import confirm_watchable
from bulkcert.service.actions import ACTIONS
from bulkcert.service.codes import WRONG_INSTANCE, Verdict
from bulkcert.store.outcome import DESIRED, NEVER_CALLED, NEVER_READ, OUTCOME_OF, Outcome, Retried
from bulkcert.store.paths import RunFiles
from bulkcert.views.run_shown import caution

ROOT = Path(__file__).parent.parent
JOBS, DOCS = ROOT / "jobs", ROOT / "bulkcert" / "docs"

MADE_UP = replace(ACTIONS["inactivate-device"], name="renew-device", inverse=None, verb="renew device certificates")
"""An action that cannot be undone and deletes nothing."""


def test_what_cannot_be_undone_is_no_deletion(monkeypatch):
    """Nothing is concluded from there being no inverse."""
    told = [caution(MADE_UP), no_inverse(MADE_UP, Path("r.csv")).message, no_inverse(MADE_UP, Path("r.csv")).advice]

    assert told[0] == "renew-device cannot be undone."
    assert not any(word in " ".join(told) for word in ("delete", "CA"))
    confirm_watchable(MADE_UP)
    monkeypatch.setitem(ACTIONS, MADE_UP.name, MADE_UP)
    assert "--watch" in Advice(RunFiles(Path("r.csv")), SimpleNamespace(action=MADE_UP.name)).on_read_back("active")


def test_what_deletes_says_so():
    """A deletion is told as one, and not repeated unasked."""
    action = ACTIONS["delete-ca"]

    assert "every device certificate registered under it is deleted" in caution(action)
    assert no_inverse(action, Path("r.csv")).advice.startswith("Register the CA again")
    with pytest.raises(BulkcertError, match="whoever has registered them since"):
        confirm_watchable(action)


def test_what_may_not_be_repeated_is_not_watched():
    """Whatever a repeat would do, it is not called again without a question."""
    with pytest.raises(BulkcertError, match=r"would renew device certificates again$"):
        confirm_watchable(replace(MADE_UP, repeatable=False))


@pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS)
def test_the_table_agrees_with_itself(action):
    """An inverse goes back, only an action on CAs takes anything with it, and the sample job names them all."""
    if action.inverse is not None:
        inverse = ACTIONS[action.inverse]
        assert (inverse.inverse, inverse.desired) == (action.name, action.before)
    assert not (action.cascades and action.by_device)
    assert (action.cascades == "deletes") == action.deletes
    assert action.name in (JOBS / "mass-revocation.toml").read_text()


@pytest.mark.parametrize("code", [WRONG_INSTANCE, "ApiNotSupport", ""])
def test_the_next_step_goes_by_the_code(code):
    """What is to be put right is told by the service's code, whatever the advice says."""
    assert ("right --instance" in _before_resuming(code, 78)) == (code == WRONG_INSTANCE)


def test_every_outcome_has_its_words():
    """What became of a row is explained; if it is bad and lasts an alert watches for it, and it can be called again."""
    alert = re.search(r'last_rows\{outcome=~"([^"]*)"', (JOBS / "bulkcert.rules.yml").read_text())[1].split("|")
    elsewhere = {*DESIRED, Outcome.DUPLICATE, Outcome.NOT_REGISTERED}
    named = re.findall(r"`(\w+)`", (DOCS / "resume.md").read_text())

    assert {*_BY_OUTCOME} == {*Outcome}
    assert {*OUTCOME_OF} == {*Verdict} - {Verdict.STOP, Verdict.REFRESH}
    assert {*alert} == {*Outcome} - elsewhere
    assert {*NEVER_READ} <= {*UNREAD}
    assert {*get_args(Retried)} - {"drifted"} == {*Outcome} - {*DESIRED, *NEVER_CALLED, Outcome.NOT_ATTEMPTED}
    assert {*get_args(Retried)} <= {*named}

"""Chinese: every text of report, plan and summary is in the catalogue, which is compiled as it stands."""

import io
import re
import string
from gettext import GNUTranslations

import catalogue
import pytest
from made_store import START, made_run, row, session
from program import INSTANCE, UNHURRIED, emulator, here, write_devices

from bulkcert.output.advice import meaning_of
from bulkcert.service.codes import RULES
from bulkcert.store.outcome import Outcome
from bulkcert.words import counted, folded, speaking, tr

KNOWN = catalogue.catalogue()
FIELDS = string.Formatter()


@pytest.mark.parametrize("text", catalogue.texts())
def test_no_text_is_untranslated(text):
    """Each has a Chinese text, which asks for nothing that the English one has not."""
    chinese = KNOWN.get(text)

    assert chinese is not None, f"{text!r} is new: python tests/catalogue.py, then translate it in {catalogue.PO}"
    assert chinese.string
    assert places(chinese.string) <= places(text)


def places(text):
    return {(name, how) for _, name, how, _ in FIELDS.parse(text) if name}


def test_what_the_program_reads_is_what_people_edit():
    """The compiled catalogue is that of the texts, without any that the code has no more."""
    compiled = GNUTranslations(io.BytesIO(catalogue.PO.with_suffix(".mo").read_bytes()))
    assert {text: compiled.gettext(text) for text in catalogue.texts()} == {
        each.id: each.string for each in KNOWN if each.id
    }
    assert catalogue.PO.read_bytes() == catalogue.po_of(catalogue.updated(KNOWN))


def test_within_only():
    """A language holds where it is asked for, and nowhere else; what is in no catalogue stays English."""
    with speaking("zh"):
        assert tr("to verify") == "校验"
        assert tr("a text that is in no catalogue") == "a text that is in no catalogue"
        assert counted(20_000, "certificate") == "20,000 张证书"
        assert meaning_of(Outcome.FAILED) == "被拒绝，或重试次数已用尽"
    assert (tr("to verify"), counted(2, "retry")) == ("to verify", "2 retries")


def test_lines_of_wide_characters():
    """A Chinese character takes two columns, a line ends between any two of them, and never before a full stop."""
    lines = folded("未回读：这是服务的应答，而不是证书当前的状态。", 20, "", "  ")

    assert lines == ["未回读：这是服务的应", "  答，而不是证书当前", "  的状态。"]
    assert folded("停用其张证书（inactivate-ca），或在其", 26, "", "") == ["停用其张证书", "（inactivate-ca），或在其"]


ENGLISH = re.compile(r"(?<![\w./-])[A-Za-z][a-z]+ [A-Za-z][a-z]+(?![\w./-])", re.ASCII)
NOT_OURS = [rule.message for rule in RULES] + [
    "a key has leaked",
    "Wang Fang",
    "it is invalid",
    "it is protected",
    *map(str, Outcome),
]
"""The service's messages, what was typed, reasons that the store holds, outcomes by their names."""


def english_in(shown):
    """Returns what is English in a text that people read, without commands."""
    shown = re.sub(r"`[^`]*`|bulkcert [^；。，）\n]*", "", shown)
    for text in sorted(NOT_OURS, key=len, reverse=True):
        shown = shown.replace(text, "")
    return ENGLISH.findall(shown)


def called(after_ms=0, outcome="succeeded", **columns):
    return row(outcome, sent_at=START + after_ms, finished_at=START + after_ms + 80, **columns)


CHANGE = {"ticket": "CHG-4711", "reason": "a key has leaked", "approved_by": "Wang Fang"}
RUNS = {
    "all": ([called(), "unchanged"], [session(options=CHANGE)]),
    "each outcome": (
        [called(), "failed", "unknown", "not_registered", "invalid", row("duplicate", first_row=1), "protected", None],
        [session(ended=1, figures={"calls": 900})],
    ),
    "many": ([called(), *[row("failed", code="InternalError")] * 600], [session(ended=1)]),
    "interrupted": ([called(), row(None, claimed_by=1)], [session(ended=None)]),
    "undone": (["undone", row(claimed_by=2, sent=True)], [session(), session("undo", ended=1)]),
    "read back": (
        [called(verified="active", verified_at=START), called(verified="inactive", verified_at=START)],
        [session(), session("verify", ended=1)],
    ),
    "empty": ([], None),
}


@pytest.mark.parametrize("format_", ["text", "md", "html"])
@pytest.mark.parametrize("case", RUNS)
def test_report(tmp_path, case, format_):
    """Whatever came of a run, nothing of its report is left in English."""
    made_run(tmp_path, *RUNS[case], name="r.csv")
    asked = ("--exposed-since", "2027-01-15", "--language", "zh", "--format", format_, "-o", "page")
    here("report", "r.csv", *asked, cwd=tmp_path).ended(0)
    shown = (tmp_path / "page").read_text(encoding="utf-8")
    if format_ == "html":
        assert '<html lang="zh-Hans">' in shown
        shown = re.sub(r"<code>.*?</code>|<style>.*?</style>|<[^>]+>", "\n", shown, flags=re.DOTALL)

    assert not english_in(shown.replace("\\", ""))


def test_plan_and_summary(tmp_path):
    """What is planned, asked, done, verified and undone is Chinese, line by line; programs get what they always get."""
    devices = write_devices(tmp_path / "d.csv", 60)
    with emulator() as service:
        service.seed(devices[:50])
        where = ("--endpoint", service.url, "--instance", INSTANCE, *UNHURRIED)
        asked = {"cwd": tmp_path, "env": {"BULKCERT_LANGUAGE": "zh", "COLUMNS": "80"}}
        plan = here("plan", "inactivate-device", "d.csv", *where, **asked).ended(0)
        run = here("run", "inactivate-device", "d.csv", "-o", "r.csv", "--yes", *where, **asked).ended(1)
        read = here("verify", "r.csv", *UNHURRIED, "-q", **asked).ended(1)
        undone = here("undo", "r.csv", "--yes", "-q", *UNHURRIED, **asked).ended(0)
    for each in (plan.stdout, run.stdout, read.stdout, undone.stdout):
        assert not english_in(each)
        assert "退出状态" in each
    assert "10 张未注册；不安全：" in run.stderr
    assert "succeeded" in run.stdout

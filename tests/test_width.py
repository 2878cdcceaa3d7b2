"""On a terminal of 80 columns no line is longer and no word is cut, whatever a view has to say."""

import io
import os
import re
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import anyio
import msgspec
import pytest
from made_store import made_run, row, session, stats
from program import INSTANCE, UNHURRIED, here
from rich.cells import cell_len

from bulkcert.commands import COMMANDS
from bulkcert.commands.help import DOCS, help_, topics
from bulkcert.engine.figures import Stats
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.output.summary import summary_of
from bulkcert.report.counting import count
from bulkcert.report.rendering import render
from bulkcert.runs.opening import open_existing
from bulkcert.store.status import status_in
from bulkcert.views import console, errors, live
from bulkcert.views.console import command_lines
from bulkcert.views.ending import show_ending, summary_rows
from bulkcert.views.layout import show
from bulkcert.views.live import REFRESH_S, board
from bulkcert.views.plan import CaStates, States
from bulkcert.views.plan_shown import show_states
from bulkcert.views.status import figures
from bulkcert.words import speaking

WIDTH = 80
LONG_NAME = "devices.of-the-whole-fleet.results.csv"
LONG = "the service has answered with words and words and more words that nobody would read on one line " * 2
RUNS = {
    "killed": (["succeeded", "failed", row(None, claimed_by=1), None], [session(ended=None, figures={"calls": 5})]),
    "stopped": (["succeeded", None], [session(ended=77, stopped=LONG)]),
    "undone": (["undone", row(claimed_by=2, sent=True)], [session(), session("undo", after_ms=60_000)]),
    "unregistered": (["not_registered", "failed", "unknown"], [session(ended=1)]),
}


@pytest.fixture
def printed(monkeypatch):
    """Both consoles as terminals of 80 columns; gives the lines that were printed."""
    stream = io.StringIO()
    for each in (console.stdout, console.stderr):
        monkeypatch.setattr(each, "_force_terminal", True)
        monkeypatch.setattr(each, "_width", WIDTH)
        monkeypatch.setattr(each, "_color_system", None)
        monkeypatch.setattr(each, "_file", stream)
    return lambda: re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue()).splitlines()


def test_what_is_indented_goes_on_below_itself(printed):
    """What a line of a value goes on with is no further left than it began."""
    show([("rows", "5"), ("", f"{1:>13,} Code {'word ' * 20}")])
    _, first, *others = printed()
    assert others
    assert {len(line) - len(line.lstrip()) for line in others} == {first.index("Code")}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_report(tmp_path, language):
    """A report fits; a digest has a line of its own, and the meanings of outcomes are folded in their column."""
    files = made_run(tmp_path, *RUNS["unregistered"])
    files.results.touch()
    with speaking(language):
        lines = render(count(files), "text", WIDTH).decode().splitlines()
    instance = next(line for line in lines if "post-cn-made" in line and line.startswith("  "))

    assert not [line for line in lines if cell_len(line) > WIDTH and str(tmp_path) not in line]
    assert f"    {sha256(b'').hexdigest()}" in "\n".join(lines)
    assert len(instance.split()) > 1, "only what does not fit stands below its name"
    assert any(line.lstrip().startswith(("Outcome  ", "结果  ")) and len(line.split()) > 3 for line in lines)


def test_an_error(printed):
    """What has stopped a run is read to its end; a line that fits is one line, wherever the others are broken."""
    rows = [f"  list.csv:{number}: DeviceSn is blank" for number in range(3)]
    errors.show_error(BulkcertError(ExitStatus.DENIED, "\n".join([LONG, *rows]), LONG))
    lines = printed()
    first = lines.index(rows[0])

    assert all(len(line) <= WIDTH for line in lines)
    assert lines[first : first + 3] == rows
    shown = [*lines[:first], *lines[first + 3 :]]
    assert [word for line in shown for word in line.split() if word not in ("error:", "→")] == LONG.split() * 2


def test_invalid_rows_by_reason(tmp_path, printed):
    """An ending counts invalid rows together whose reason is the same, not all under the reason of the first."""
    blank, long = ({"never": "invalid", "why": f"DeviceSn is {what}"} for what in ("blank", "a formula"))
    ending(made_run(tmp_path, [row("invalid", **blank), row("invalid", **long), row("invalid", **blank)]))

    lines = [line.split(maxsplit=1)[1] for line in printed() if " as row " in line]
    assert lines == ["as row 1 (00000001): DeviceSn is blank", "as row 2 (00000002): DeviceSn is a formula"]


def words(lines):
    """Returns the words that nothing but the width may change: those without digits, nor what breaks a command."""
    return {word for line in lines for word in line.split() if not any(map(str.isdigit, word))} - {"\\"}


def ending(files):
    """Shows what a run came to, as its command does in the end."""
    with closing(open_existing(files)) as opened:
        status = status_in(files, opened.store.db)
        summary = summary_of(status, opened.pinned, opened.store.db, opened.write_results(), None)
    show(summary_rows(summary, status, calls=5))
    show_ending(summary, status, quiet=False)


@pytest.mark.parametrize("case", RUNS)
@pytest.mark.usefixtures("inside")
def test_in_chinese(service, printed, case):
    """A Chinese character takes two columns: what is planned, and what a run came to, fits all the same."""
    Path("d.csv").write_text("DeviceSn,CaSn\n" + "".join(f"{number:012d},00ca\n" for number in range(200)))
    with speaking("zh"):
        ending(made_run(Path(), *RUNS[case], name="devices.of-the-fleet.csv"))
    where = ("--endpoint", service.url, "--instance", INSTANCE, *UNHURRIED)
    here("plan", "inactivate-device", "d.csv", "--language", "zh", *where).ended(0)

    assert all(cell_len(line) <= WIDTH for line in printed())
    assert sum(not line.isascii() for line in printed()) > 10


@pytest.mark.usefixtures("inside")
def test_the_end_of_a_run(printed):
    """Reads are named among the calls; what has stopped the run is said once."""
    refused = row("not_attempted", code="SignatureDoesNotMatch", message="a wrong signature")
    stopped = session(ended=77, stopped="a wrong signature", stop_code="SignatureDoesNotMatch", figures={"reads": 3})
    ending(made_run(Path(), [refused], [stopped]))
    text = "\n".join(printed())

    assert "5, of which 3 reads, at 0.0/s" in text
    assert text.count("a wrong signature") == 1


PLANS = [("plan", "inactivate-device"), ("plan", "delete-ca")]
RUN = ("run", "inactivate-device", "-o", "new.csv", "--protect", "p.csv", "--skip-protected")
DOCTOR = ("doctor", "--rate", "501", "--limits-raised")
SHOWN = [
    *RUNS,
    RUN,
    DOCTOR,
    ("run", "delete-ca", "-o", "new.csv", "--rate", "501", "--limits-raised"),
    *PLANS,
    ("verify",),
]


@pytest.mark.parametrize("case", SHOWN, ids=str)
@pytest.mark.usefixtures("inside")
def test_what_commands_show(tmp_path, service, monkeypatch, printed, case):
    """What is asked, planned and read, and what a run came to and is, has the words that it has without a width."""
    where = ("--endpoint", service.url, "--instance", INSTANCE, *UNHURRIED)
    run = RUNS[case if case in RUNS else "unregistered" if case == ("verify",) else "killed"]
    files = made_run(Path(), *run, name=LONG_NAME, endpoint=service.url, instance=INSTANCE)
    Path("d.csv").write_text("DeviceSn,CaSn\n" + "".join(f"{number:012d},00ca\n" for number in range(200)))
    Path("p.csv").write_text("DeviceSn\n000000000001\n1\n")

    def shown():
        if case in RUNS:
            ending(files)
            here("status", files.results)
        elif case == ("verify",):
            here("verify", LONG_NAME, *UNHURRIED).ended(1)
        elif case == DOCTOR:
            here(*case, *where[:4]).ended(0)
        else:
            here(*case[:2], "d.csv", *case[2:], *where)
        return printed()

    narrow = shown()
    for each in (console.stdout, console.stderr):
        monkeypatch.setattr(each, "_force_terminal", False)
    wide = shown()[len(narrow) :]

    assert narrow
    assert wide
    # A path is never broken, so that it can be copied.
    assert all(len(line.replace(str(tmp_path), "")) <= WIDTH for line in narrow)
    assert words(wide) <= words(narrow)


@pytest.mark.parametrize("name", sorted({*topics(), *COMMANDS, ""}))
def test_a_help_in_a_pipe(monkeypatch, name):
    """However wide the terminal is, no line is longer but a command, which is to be copied; and no word is lost."""
    monkeypatch.setattr(os, "get_terminal_size", lambda *_: os.terminal_size((200, 50)))
    shown = here("help", *([name] if name else [])).ended(0).stdout
    topic = (DOCS / f"{name}.md").read_text() if name in topics() else ""

    lines = shown.splitlines()
    commands = ("    bulkcert ", "    export ", "    echo ", "    ssh-keygen ")
    assert not [line for line in lines if len(line) > WIDTH and not line.startswith(commands) and "://" not in line]
    marks = {"|", *re.findall(r"\S*---\S*", topic)}
    assert {*topic.split()} - marks <= {word for line in lines for word in line.split()}


WAITS = {
    "stopping (SIGINT received): waiting for the 120 calls in flight, at most 30 s; again to leave at once": (
        board,
        {"rows": 2_000_000, "done": 1_247_047, "retries": 123, "left_s": 2000.0},
    ),
    "PAUSED by somebody-with-a-name on a-machine-with-a-long-name since 2027-01-15T08:00:00Z": (
        live.shown(figures),
        {"phase": "paused", "pages": 120, "reads": 1_234, "to_read": 200_000},
    ),
}


@pytest.mark.parametrize("waiting", WAITS)
def test_the_live_line(printed, monkeypatch, waiting):
    """Why a run stops is read to its end while it does, with a bar and without one, as while states are read."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(console.stderr, "is_interactive", True)
    shows, about = WAITS[waiting]
    outcomes = {"succeeded": 1_234_567, "not_registered": 12_345, "failed": 123, "unknown": 12}
    now = msgspec.convert(stats(outcomes=outcomes, waiting_for=waiting, **about), Stats)

    async def watch():
        with anyio.move_on_after(2 * REFRESH_S):
            await shows(lambda: now)

    anyio.run(watch)

    assert all(len(line) <= WIDTH for line in printed())
    shown = "\n".join(printed())  # one frame begins where the one before ended
    assert not [word for word in waiting.split() if word not in shown]


@pytest.fixture
def table(printed):
    """Returns the lines of a plan's table for one CA with so many registered devices as rows."""

    def lines(ca_sn, *figures):
        ca = CaStates(*figures, ca_sn=ca_sn, registered=figures[0], registered_at_least=figures[0])
        show_states([ca], 2, {}, States(*figures), console.stdout)
        return printed()

    return lines


def test_a_plan_of_cas(table):
    """A serial is whole: columns that are nothing but zeros make room for it."""
    lines = table("00f26900ba87000001", 14_386_000, 0, 0, 0, 14_386_000)

    assert all(len(line) <= WIDTH for line in lines)
    assert lines[1].startswith("00f26900ba87000001  ")


@pytest.mark.parametrize("unread", [0, 12])
def test_a_plan(table, unread):
    """The table drops the column of what was not read where there is none, and cuts names of CAs, never a figure."""
    lines = table("0" * 40, 1_000_000, 900_000, 50_000, 50_000 - unread, unread)

    assert all(len(line) <= WIDTH for line in lines)
    assert ("not read" in lines[0]) == bool(unread)
    assert all("1,000,000" in line for line in lines[1:])


@pytest.mark.parametrize("topic", topics())
def test_topics(printed, topic):
    """Nothing of a topic is cut off where its lines are folded."""
    help_(topic)
    shown = "".join("".join(printed()).split())

    text = re.sub(r"\]\(.+?\)", "", (DOCS / f"{topic}.md").read_text())

    assert not [word for word in re.findall(r"\w{4,}", text) if word not in shown]


@pytest.mark.parametrize("topic", topics())
def test_commands_of_a_topic(printed, topic):
    """What is too long for a line is broken as a shell has it, so that it can be copied."""
    help_(topic)
    shown = "\n".join(printed()).replace("\\\n", "")
    text = (DOCS / f"{topic}.md").read_text()

    assert all(
        " ".join(line.split()) in " ".join(shown.split())
        for line in re.findall(r"^    (bulkcert.*)", text, re.MULTILINE)
    )


def test_the_list_of_topics(printed):
    """Names of topics and commands are whole."""
    help_()
    lines = printed()

    assert all(len(line) <= WIDTH for line in lines)
    assert {*topics(), *COMMANDS} <= {word.strip(",") for line in lines for word in line.split()}


def test_commands_are_for_a_shell():
    """A command that is broken is the same command."""
    command = (
        "bulkcert resume '/a path/of/some length/results.csv' --retry failed,unknown --state-dir /a/directory/elsewhere"
    )
    lines = list(command_lines(command, WIDTH))

    assert len(lines) == 2
    assert " ".join("".join(line.removesuffix("\\") for line in lines).split()) == command

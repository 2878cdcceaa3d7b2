"""What is said of options that are typed wrong: in plain words, with the name typed and whose help to see."""

import pytest
from fuzz_options import fuzz
from program import here

from bulkcert import cli
from bulkcert.errors import BulkcertError

RUN = ("run", "inactivate-device", "x.csv")
WORDS = {
    ("inventory", "--outptu", "x.csv"): "Unknown option: --outptu. Did you mean --output?",
    ("rehearse", *RUN[1:], "--dry-run"): "bulkcert plan, with the same options, says what a run would do",
    ("verify", "r.csv", "a", "b"): "'a', 'b': unexpected argument",
    ("inventory", "--rate", "1.5"): "--rate: '1.5' is not a whole number",
    ("inventory", "--timeout", "x"): "Invalid value for --timeout",
    ("run", "--action", "inactivate-ca", "m.csv"): "after --action what follows it is named, too: --input m.csv",
    ("policy", "inactivate-devices"): 'Did you mean "inactivate-device"?',
    ("policy", "deactivate"): '". Did you mean inactivate-device?',
    ("run", "deactivate-ca", "m.csv"): '". Did you mean inactivate-ca?',
    ("run", "delete-device", "m.csv"): '". Did you mean inactivate-device?',
    ("status",): "RESULTS is missing: type it after the command, or name a job file (--job) with results = …",
    ("inactivate-device", "m.csv"): "an action, no command; did you mean bulkcert run inactivate-device m.csv?",
    ("run", "m.csv", "inactivate-device"): "the action comes before the list: bulkcert run inactivate-device LIST",
    ("run", "d.csv", "--job"): "--job is without a file",
    (*RUN, "--rate"): "--rate requires an argument",
    ("run", "--job", "a.toml", "--job=b.toml"): "--job is given 2 times",
    ("invent",): 'Unknown command "invent". Did you mean "inventory"?',
}


def refused(*tokens):
    """Returns what is wrong with a command line, and what to do."""
    config = cli.app.config
    with pytest.raises(BulkcertError) as wrong:
        cli._done([*tokens])
    cli.app.config = config
    return wrong.value.message, wrong.value.advice


@pytest.mark.parametrize("tokens", WORDS, ids=" ".join)
def test_words(tokens):
    """One message names what was typed and, where it is near, what was meant; and the help of the command."""
    message, advice = refused(*tokens)

    assert WORDS[tokens] in message
    assert advice.startswith(f"See bulkcert {tokens[0] if tokens[0] in cli.COMMANDS else '--help'}")


def test_what_is_no_action_is_not_taken_for_one():
    """The hint at the action that was meant is for an action alone."""
    assert refused(*RUN, "--preflight", "disabled")[0].endswith('"always", "never".')


def test_another_encoding():
    """What is not UTF-8 can be neither kept nor shown, wherever it stands."""
    assert refused("verify", "r.csv", "--reason", "\udcff")[0] == r"'\udcff' is not UTF-8"


WRONG_JOBS = {
    **{f"{key} = {value}": key for key, value in (("bogus", 1), ("resutls", "'x'"), ("preflight", "'x'"))},
    "protect = ['a']": "protect",
    "rate = 'x'": "rate: 'x' is not a whole number",
    "rate = \n": "Invalid value (at line 1, column 8)",
    "[run]\nrate = 1": "[run]: a job file has no table but",
    "\udcff": "can't decode byte 0xff",
}


@pytest.mark.parametrize("text", WRONG_JOBS)
def test_job_file(tmp_path, text):
    """What is wrong in a job file is said with the file, by the name that stands there."""
    path = tmp_path / "job.toml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    message = refused("run", "--job", str(path), *RUN[1:])[0]

    assert message.count(str(path)) == 1
    assert WRONG_JOBS[text] in message
    assert f"[{text.split()[0]}]" not in message


def test_all_unknown_keys_at_once(tmp_path):
    """Keys of a job file that are no options are said together; text without quotes is why TOML is none."""
    path = tmp_path / "job.toml"
    path.write_text("regon = 'x'\nlimit_rows = 3\nlimit-row = 1\n")
    message, _ = refused("--job", str(path), *RUN)
    path.write_text("action = inactivate-device\n")
    _, advice = refused("--job", str(path), *RUN)

    assert message == f"{path}: unknown options: regon (did you mean region?), limit-row (did you mean limit-rows?)"
    assert "text wants quotes" in advice


@pytest.mark.parametrize("typed", [("notify",), ("notify", "--help"), ("inactivate-device", "--help")])
def test_what_is_no_command(typed):
    """Whoever asks for the help of what is no command gets no other, and of a topic how to read it."""
    said = here(*typed).ended(2)

    assert said.stdout == ""
    assert ("See bulkcert help notify." in said.stderr) == (typed[0] == "notify")
    assert ("did you mean bulkcert run inactivate-device?" in said.stderr) == (typed[0] != "notify")


def test_environment(monkeypatch):
    """What is wrong in the environment is said by the name of the variable."""
    monkeypatch.setenv("BULKCERT_TIMEOUT", "soon")

    assert "BULKCERT_TIMEOUT" in refused("inventory")[0]


def test_misspelt_variables(tmp_path):
    """A variable that is nearly an option is not ignored in silence."""
    said = here("runs", tmp_path, env={"BULKCERT_RAET": "3"}).ended(0).stderr
    assert "BULKCERT_RAET is not an option of this command; it is ignored; did you mean BULKCERT_RATE?" in said


WHERE = ("--endpoint", "http://127.0.0.1:9")
REFUSED = {
    ("run", "delete-ca", "x.csv", *WHERE, "--instance", "post-cn-1 "): "--instance 'post-cn-1 ' must be letters",
    ("inventory", "-o", "x.csv", *WHERE, "--instance", "a/b"): "--instance 'a/b' must be letters",
    ("policy", "delete-ca", "--instance", "post cn"): "--instance 'post cn' must be letters",
    ("policy", "delete-ca", "--account", "abc"): "--account 'abc' must be the number of the account",
    ("rehearse", *RUN[1:], "--unregistered", "2"): "from 0 to 1",
    ("run", "--job", "none.toml"): "--job none.toml: No such file",
    ("inventory", "extra"): "error: 'extra': unexpected argument",
}


def test_the_command(tmp_path):
    """An ID that cannot be one is refused by every command before anything is read or called."""
    for case, message in REFUSED.items():
        assert message in here(*case, cwd=tmp_path).ended(2).stderr


def test_options_at_random():
    """Whatever is typed, set and written in a job file: a documented status, no traceback, and an end."""
    ends, wrong = fuzz(60, seed=3)

    assert not wrong
    assert len({command for command, _ in ends}) > 8

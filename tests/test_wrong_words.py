"""What is said of options that are typed wrong: in plain words, with the name typed and whose help to see."""

import cyclopts
import pytest
from program import here

from bulkcert import cli
from bulkcert.views.option_errors import wrong_options

RUN = ("run", "inactivate-device", "x.csv")
ACTIONS = "inactivate-device, activate-device, inactivate-ca, activate-ca, delete-ca"
WORDS = {
    ("inventory", "--bogus"): "Unknown option: --bogus",
    ("inventory", "--outptu", "x.csv"): "Unknown option: --outptu; did you mean --output?",
    ("inventory", "extra"): "'extra': unexpected argument",
    ("verify", "r.csv", "a", "b"): "'a', 'b': unexpected arguments",
    ("inventory", "--cas=maybe"): "--cas: 'maybe' is neither true nor false",
    ("inventory", "--rate", "1.5"): "--rate: '1.5' is not a whole number",
    ("inventory", "--timeout", "x"): "--timeout: 'x' is not a number",
    ("inventory", "--status", "off"): "--status: 'off' is not valid; choose from active, inactive",
    ("inventory", "-o"): "-o takes a value, and there is none",
    ("inventory", "--rate", "1", "--rate", "2"): "--rate is given more than once",
    ("emulator", "--latency-ms", "5"): "--latency-ms takes 2 values, not 1",
    (
        "policy",
        "inactivate-devices",
    ): f"ACTION: 'inactivate-devices' is not valid; choose from {ACTIONS}; did you mean inactivate-device?",
    (
        "policy",
        "deactivate",
    ): f"ACTION: 'deactivate' is not valid; choose from {ACTIONS}; did you mean inactivate-device?",
    ("policy", "x"): f"ACTION: 'x' is not valid; choose from {ACTIONS}",
    ("run", "--action", "delete-ca", "x.csv"): "'x.csv' has no option name, but --action has: type --input x.csv",
}


def refused(*tokens):
    """Returns what is wrong with a command line, and what to do."""
    with pytest.raises(cyclopts.CycloptsError) as wrong:
        cli.app.meta(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    error = wrong_options(wrong.value, tuple(cli.COMMANDS))
    return error.message, error.advice


@pytest.mark.parametrize("tokens", WORDS, ids=" ".join)
def test_words(tokens):
    """The message names what was typed as it was typed, and the help of the command that was typed."""
    assert refused(*tokens) == (WORDS[tokens], f"See bulkcert {tokens[0]} --help. No calls were made.")


def test_unknown_command():
    """A command that there is not is told with all there are, or with the one that was meant."""
    assert refused("[bogus]") == (
        f'Unknown command "[bogus]"; there are {", ".join(cli.COMMANDS)}',
        "See bulkcert --help. No calls were made.",
    )
    assert refused("invent")[0] == 'Unknown command "invent"; did you mean inventory?'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("bogus = 1", "Unknown option: bogus"),
        ("resutls = 'x'", "Unknown option: resutls; did you mean results?"),
        ("rate = 'x'", "rate: 'x' is not a whole number"),
        ("preflight = 'x'", "preflight: 'x' is not valid; choose from auto, always, never"),
        ("protect = ['a']", "protect: '[\"a\"]' is not a path"),
    ],
)
def test_job_file(tmp_path, line, message):
    """What is wrong in a job file is told with the file, by the name that stands there."""
    path = tmp_path / "job.toml"
    path.write_text(line)

    assert refused("--job", str(path), *RUN)[0] == f"{path}: {message}"


def test_environment(monkeypatch):
    """What is wrong in the environment is told by the name of the variable."""
    monkeypatch.setenv("BULKCERT_TIMEOUT", "soon")

    assert refused("inventory")[0] == "BULKCERT_TIMEOUT: 'soon' is not a number"


WHERE = ("--endpoint", "http://127.0.0.1:9")
REFUSED = {
    ("run", "delete-ca", "x.csv", *WHERE, "--instance", "post-cn-1 "): "--instance 'post-cn-1 ' must be letters",
    ("inventory", "-o", "x.csv", *WHERE, "--instance", "a/b"): "--instance 'a/b' must be letters",
    ("policy", "delete-ca", "--instance", "post cn"): "--instance 'post cn' must be letters",
    ("policy", "delete-ca", "--account", "abc"): "--account 'abc' must be the number of the account",
    ("inventory", "extra"): "error: 'extra': unexpected argument",
}


def test_the_command(tmp_path):
    """An ID that cannot be one is refused by every command before anything is read or called."""
    for case, message in REFUSED.items():
        assert message in here(*case, cwd=tmp_path).ended(2).stderr


def test_help_names_the_variable_of_the_job_once():
    """``bulkcert`` alone shows the first page of the help, with the variable of ``--job`` once."""
    for case in ((), ("--help",)):
        assert here(*case).ended(0).stdout.count("BULKCERT_JOB") == 1

"""What ``bulkcert help python`` shows is done: each of its blocks, with a stand-in for what is of another library."""

import os
import re
import textwrap
from contextlib import chdir
from pathlib import Path
from types import ModuleType, SimpleNamespace
from unittest.mock import patch

import anyio
import pytest
from program import emulator, environment, outcomes, write_devices

import bulkcert

TEXT = (Path(bulkcert.__file__).parent / "docs" / "python.md").read_text()
INSTANCE = "post-cn-7mz2d000001"
PARTS = re.split(r"^## .+\n", TEXT, flags=re.MULTILINE)
SECTIONS = dict(zip(["", "Airflow", "Prefect", "Dagster"], PARTS, strict=True))


def code_of(section, url):
    """Returns the blocks of a section as one program, turned to an emulator."""
    lines = [line for line in SECTIONS[section].splitlines() if line.startswith("    ") or not line]
    return textwrap.dedent("\n".join(lines)).replace('region="cn-hangzhou"', f'endpoint="{url}"')


@pytest.fixture
def do(tmp_path):
    """Executes a section where its list is, with credentials in the environment and other libraries stood in for."""
    with emulator(instances=(INSTANCE,)) as service, chdir(tmp_path), patch.dict(os.environ, environment()):
        service.seed(write_devices("leaked.csv", 20), instance=INSTANCE)

        def execute(section, **modules):
            given = {name.replace("_", "."): made(**names) for name, names in modules.items()}
            found = {"__name__": "example"}
            with patch.dict("sys.modules", given):
                exec(compile(code_of(section, service.url), section, "exec"), found)
            return found.get("switch_off")

        yield execute


def made(**names):
    module = ModuleType("stand-in")
    vars(module).update(names)
    return module


def decorator(**_options):
    return lambda function: function


def test_the_first_example(do, capsys):
    """From the plan to the verification and the rows that are left, then again what has failed."""
    do("")

    assert "0 {'succeeded': 20}" in capsys.readouterr().out
    assert outcomes("r.csv") == {"succeeded": 20}


def test_airflow(do):
    """The function of the task does it, and its second try resumes."""
    switch_off = do("Airflow", airflow={}, airflow_sdk={"task": decorator})

    assert [switch_off("leaked.csv") for _ in range(2)] == [{"succeeded": 20}] * 2


def test_prefect(do):
    """The flow does it and says so in its own log."""
    said = []
    logger = SimpleNamespace(info=lambda *parts: said.append(parts))
    switch_off = do("Prefect", prefect={"flow": decorator, "get_run_logger": lambda: logger})

    assert anyio.run(switch_off, "leaked.csv") == {"succeeded": 20}
    assert said == [("%s", {"succeeded": 20})]


def test_dagster(do):
    """The op does it, with the list of its configuration."""
    said = []
    context = SimpleNamespace(op_config={"leaked": "leaked.csv"}, log=SimpleNamespace(info=said.append))
    names = {"Failure": RuntimeError, "OpExecutionContext": object, "op": decorator}

    assert anyio.run(do("Dagster", dagster=names), context) == {"succeeded": 20}
    assert said == ["{'succeeded': 20}"]


@pytest.mark.parametrize("name", bulkcert.__all__)
def test_every_name_is_explained(name):
    """Nothing of the API is left out."""
    assert re.search(rf"`(bulkcert\.)?{name}\b|credentials=bulkcert\.{name}", TEXT) or name == "ExitStatus"

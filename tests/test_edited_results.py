"""Results are acted on only as they were written: rows in order, serials as they were, and where the run was made."""

import json

import pytest
from program import INSTANCE, UNHURRIED, here, write_devices


@pytest.fixture(scope="module")
def made(tmp_path_factory, service):
    """Returns the directory, the devices and the text of the results of a run."""
    directory = tmp_path_factory.mktemp("made")
    devices = write_devices(directory / "d.csv", 6)
    service.seed(devices)
    command = ("run", "inactivate-device", "d.csv", *service.looking, "-q", "-o", "r.csv")
    here(*command, cwd=directory).ended(0)
    return directory, devices, (directory / "r.csv").read_text()


def swapped(lines):
    return [*lines[:2], lines[3], lines[2], *lines[4:]]


def renumbered(lines):
    """Rows in another order, and numbered so that nothing shows."""
    rows = [line.split(",") for line in swapped(lines)]
    return [",".join([*row[:2], lines[number].split(",")[2], *row[3:]]) for number, row in enumerate(rows)]


def replaced(lines):
    return [line.replace("000000000003", "000000000099") for line in lines]


def shortened(lines):
    return lines[:-1]


def without_outcome(lines):
    return [",".join(line.split(",")[:3]) for line in lines]


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (swapped, "row 2 is numbered 3 in the column row"),
        (renumbered, "names other certificates than its run was about: DeviceSn or CaSn was edited"),
        (replaced, "names other certificates than its run was about"),
        (shortened, "has 5 rows, its journal tells of 6"),
        (without_outcome, "has no column outcome"),
    ],
)
def test_edited(service, made, edit, told):
    """65 and what is wrong: what was moved or edited would lead to wrong certificates; nothing is called."""
    directory, _, text = made
    (directory / "r.csv").write_text("\n".join(edit(text.splitlines())) + "\n")
    calls = service.report().arrivals
    try:
        refused = here("undo", "r.csv", "--yes", *UNHURRIED, cwd=directory).ended(65)
    finally:
        (directory / "r.csv").write_text(text)

    assert told in refused.stderr
    assert "--limit-rows 0" in refused.stderr
    assert service.report().arrivals == calls


@pytest.mark.parametrize("where", [".", "/", ".."])
def test_a_directory(tmp_path, where):
    """66 for what cannot be results."""
    here("undo", where, cwd=tmp_path).ended(66)


@pytest.mark.parametrize("command", ["verify", "undo"])
def test_another_service(made, command):
    """65: what was done here is not read or taken back elsewhere, however the endpoint was given."""
    directory, _, _ = made
    there = {"BULKCERT_ENDPOINT": "http://127.0.0.1:9"}
    assert "http://127.0.0.1:9" in here(command, "r.csv", cwd=directory, env=there).ended(65).stderr
    refused = here(command, "r.csv", "--region", "cn-hangzhou", cwd=directory).ended(65)

    assert "onsmqtt.cn-hangzhou.aliyuncs.com" in refused.stderr


def test_a_key_column_with_a_name_of_ours(tmp_path, service):
    """The serials are found again though their column was renamed twice over, and those beside it are left alone."""
    rows = [f"k{number},z{number},kca" for number in range(3)]
    (tmp_path / "d.csv").write_text("\n".join(["code,input_code,CaSn", *rows, ""]))
    keys, others = ([(f"{mark}{number}", "kca") for number in range(3)] for mark in "kz")
    service.seed(keys, "1")
    service.seed(others, "0")
    options = ("--device-column", "code", *service.looking, "-q", "-o", "r.csv")
    here("run", "inactivate-device", "d.csv", *options, cwd=tmp_path).ended(0)
    here("undo", "r.csv", "--yes", *UNHURRIED, cwd=tmp_path).ended(0)

    assert service.states(keys) == ["1"] * 3
    assert service.states(others) == ["0"] * 3


@pytest.mark.parametrize("suffix", ["csv", "ndjson"])
def test_an_empty_list(tmp_path, service, suffix):
    """0: results without a row are results, in whatever format."""
    (tmp_path / "d.csv").write_text("DeviceSn,CaSn\n")
    where = ("--endpoint", service.url, "--instance", INSTANCE, "--yes")
    here("run", "inactivate-device", "d.csv", *where, "-o", f"r.{suffix}", cwd=tmp_path).ended(0)
    told = here("verify", f"r.{suffix}", "--json", cwd=tmp_path).ended(0).stdout

    assert json.loads(told)["statuses"] == {}
    here("undo", f"r.{suffix}", cwd=tmp_path).ended(0)

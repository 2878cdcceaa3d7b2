"""What a command leaves people with: what it says can be done next is so, whatever became of the run."""

import json

import pytest
from program import INSTANCE, UNHURRIED, emulator, here, write_devices


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with emulator(tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture(autouse=True)
def inside(tmp_path, monkeypatch):
    """Every command is typed in the directory with the list."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def devices(service, tmp_path):
    """Returns active devices of this test's own, listed in ``d.csv``."""
    name = tmp_path.name[:20]
    pairs = [(f"{name}{device}", f"{name}{ca}") for device, ca in write_devices(tmp_path / "d.csv", 4)]
    (tmp_path / "d.csv").write_text("DeviceSn,CaSn\n" + "".join(f"{device},{ca}\n" for device, ca in pairs))
    service.seed(pairs)
    return pairs


def run(service, *more, status=0):
    return here("run", "inactivate-device", "d.csv", *service.where, "-q", "-o", "r.csv", *more).ended(status)


@pytest.mark.parametrize(("option", "value"), [("--expect-rows", "5"), ("--max-rows", "3")])
def test_a_plan_knows_how_long_the_list_may_be(service, devices, tmp_path, option, value):
    """65, in the words of the run, also from a job file: a plan never says that a run could start that would not."""
    (tmp_path / "job.toml").write_text(
        f'action = "inactivate-device"\ninput = "d.csv"\n{option.removeprefix("--")} = {value}\n'
    )
    refused = run(service, option, value, status=65).stderr.split(";")[0].removeprefix("error: ")
    where = ("--endpoint", service.url, "--instance", INSTANCE, *UNHURRIED, "-q")
    told = here("plan", "inactivate-device", "d.csv", *where, option, value).ended(65).stdout
    assert refused in told
    assert "the run would not start" in told
    told = here("--job", "job.toml", "plan", *where, "--json").ended(65).stdout
    assert refused in " ".join(json.loads(told)["advice"])


def test_a_plan_names_no_second_address_that_is_no_faster(service, devices):
    """At a low cap of the account two source addresses are slower than one: only what is faster is worth naming."""
    where = ("--endpoint", service.url, "--instance", INSTANCE, "-q")
    slow = here("plan", "inactivate-device", "d.csv", *where, "--rate", "10").ended(0).stdout
    fast = here("plan", "inactivate-device", "d.csv", *where, "--rate", "500").ended(0).stdout
    assert "from 2 source addresses" not in slow
    assert "from 2 source addresses" in fast


def test_one_is_not_told_as_many(service, devices, tmp_path):
    """One duplicate is "1 duplicate"."""
    with (tmp_path / "d.csv").open("a") as file:
        file.write("{},{}\n".format(*devices[0]))
    where = ("--endpoint", service.url, "--instance", INSTANCE, *UNHURRIED)
    assert "1 duplicate," in here("plan", "inactivate-device", "d.csv", *where, "-q").ended(0).stdout
    assert "(1 duplicate)" in here("run", "inactivate-device", "d.csv", *service.where).ended(0).stderr

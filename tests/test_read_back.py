"""A run whose rows were read back in another state does not call itself done, and can call them again."""

import pytest
from program import emulator, here, outcomes, summary_of, write_devices


@pytest.fixture
def service(tmp_path):
    with emulator(tmp_path) as running:
        yield running


def test_what_was_reactivated(tmp_path, service):
    """Rows that verify finds in another state keep the run at 1 until they are called again; then it is 0."""
    rows = write_devices(tmp_path / "d.csv", 20)
    service.seed(rows)

    def run(*more):
        return here("run", "inactivate-device", "d.csv", "-o", "r.csv", *service.where, *more, cwd=tmp_path)

    run().ended(0)
    service.seed(rows[:5], "1")
    assert "bulkcert verify r.csv --watch" in here("verify", "r.csv", cwd=tmp_path).ended(1).stderr

    before = service.report().arrivals
    again = run().ended(1)
    assert "5 rows not in the wanted state" in again.stdout
    assert "--retry-failed" in again.stderr
    assert service.report().arrivals == before

    run("--retry-failed").ended(0)
    assert service.report().arrivals == before + 5
    assert service.states(rows) == ["0"] * 20
    assert outcomes(tmp_path / "r.csv") == {"succeeded": 20}
    run().ended(0)


def test_samples_of_each_kind(tmp_path, service):
    """After a run each outcome stands with its codes, a sample of each, and as many rows as the results have."""
    rows = write_devices(tmp_path / "d.csv", 6)
    service.seed(rows[:3])
    with (tmp_path / "d.csv").open("a") as file:
        file.write(f"{rows[0][0]},{rows[0][1]}\nNULL,{rows[0][1]}\n")
    told = here(
        *("run", "inactivate-device", "d.csv", "-o", "r.csv", "--skip-invalid", *service.where), cwd=tmp_path
    ).ended(1)
    kinds = summary_of(tmp_path / "r.csv")["kinds"]

    counted = {}
    for kind in kinds:
        counted[kind["outcome"]] = counted.get(kind["outcome"], 0) + kind["rows"]
    assert (
        counted == outcomes(tmp_path / "r.csv") == {"succeeded": 3, "not_registered": 3, "duplicate": 1, "invalid": 1}
    )
    [unknown] = [kind for kind in kinds if kind["outcome"] == "not_registered"]
    assert (unknown["code"], unknown["row"], unknown["serial"]) == ("FindDeviceBySnError", 4, rows[3][0])
    assert f"3 FindDeviceBySnError row 4 ({rows[3][0]}): " in told.stdout
    assert unknown["request_id"] in told.stdout
    for command in ("bulkcert verify r.csv", "bulkcert undo r.csv --include-unknown", "bulkcert report r.csv"):
        assert f": {command}\n" in told.stderr

"""Columns of the input that are nested: they are in the results, whatever the formats, or nothing is called."""

import json

import polars as pl
import pytest
from program import bulkcert, emulator

NESTED = (
    {"DeviceSn": "n1", "CaSn": "nca", "tags": ["a", "b"], "places": [{"x": 1}], "more": {"deep": [1, None]}},
    {"DeviceSn": "n2", "CaSn": "nca", "tags": [], "places": None, "more": None},
)


@pytest.fixture(scope="module")
def service():
    with emulator() as running:
        running.seed([("n1", "nca"), ("n2", "nca")])
        yield running


def run(service, directory, input_, results):
    return bulkcert("run", "inactivate-device", input_, *service.where, "-o", results, "-q", cwd=directory)


@pytest.fixture
def listed(tmp_path):
    (tmp_path / "d.ndjson").write_text("".join(json.dumps(row) + "\n" for row in NESTED))
    return tmp_path


def test_nested_stays_nested(service, listed):
    """What is nested in Parquet is nested in NDJSON results, value by value."""
    pl.DataFrame(NESTED).write_parquet(listed / "d.parquet")
    run(service, listed, "d.parquet", "r.ndjson").ended(0)

    rows = [json.loads(line) for line in (listed / "r.ndjson").read_text().splitlines()]
    assert [{name: row[name] for name in NESTED[0]} for row in rows] == [*NESTED]
    run(service, listed, "r.ndjson", "again.ndjson").ended(0)


def test_nested_in_ndjson_is_text(service, listed):
    """What is nested in NDJSON is a text with its JSON from then on."""
    run(service, listed, "d.ndjson", "r.ndjson").ended(0)

    rows = [json.loads(line) for line in (listed / "r.ndjson").read_text().splitlines()]
    for name in ("tags", "places", "more"):
        assert [json.loads(row[name]) if row[name] else None for row in rows] == [row[name] for row in NESTED]


def test_nested_as_json_in_text(service, listed):
    """In CSV each column keeps its name and holds JSON, however many are nested."""
    run(service, listed, "d.ndjson", "r.csv").ended(0)

    table = pl.read_csv(listed / "r.csv", infer_schema=False)
    for name in ("tags", "places", "more"):
        assert [json.loads(text) if text else None for text in table[name]] == [row[name] for row in NESTED]


def test_what_no_results_can_hold_is_said_before_the_first_call(service, tmp_path):
    """Columns that a format cannot hold refuse the run (73): nothing is called, and no journal is left."""
    table = pl.DataFrame({"DeviceSn": ["n1"], "CaSn": ["nca"], "blob": [{"raw": b"\x00"}]})
    table.write_parquet(tmp_path / "d.parquet")
    calls = service.report().arrivals
    for results in ("r.csv", "r.ndjson"):
        refused = bulkcert("run", "inactivate-device", "d.parquet", *service.where, "-o", results, cwd=tmp_path)
        assert refused.status == 73
        assert "No calls were made" in refused.stderr
    assert service.report().arrivals == calls
    assert [path.name for path in tmp_path.iterdir()] == ["d.parquet"]
    run(service, tmp_path, "d.parquet", "r.parquet").ended(0)

"""Limits of a run that looks first: its caps hold for reads and calls together, its errors are those of calls."""

from collections import Counter

import pytest
from looking import ACTIVE, BY_CA, CALL, INACTIVE, Place
from program import INSTANCE, emulator, here, outcomes, summary_of


def all_refused(directory, rows, active_every, *options):
    """Runs over a list of which a part is active, each call refused; returns how it ended, and its outcomes."""
    with emulator(faults={f"{CALL}:ParameterFieldCheckFailed": 1.0}) as service:
        place = Place(directory, service, rows, state=lambda number: INACTIVE if number % active_every else ACTIVE)
        return place.run(*options), outcomes(place.results)


def test_errors_among_called_rows_only(tmp_path):
    """A share in --max-errors is one of the rows called: those that needed no call do not hide errors."""
    refused, found = all_refused(tmp_path, 3000, 10, "--max-errors", "50%", "--max-in-flight", "4")

    assert "of 100 rows called" in refused.ended(3).stderr
    assert found["unchanged"] == 2700
    assert found["failed"] <= 100 + 4
    assert found["not_attempted"] >= 150


def test_few_calls_are_no_sample(tmp_path):
    """Rows that needed no call do not make up the sample that a share of errors wants."""
    refused, found = all_refused(tmp_path, 1000, 20, "--max-errors", "1%", "--max-in-flight", "1")

    refused.ended(1)
    assert found["unchanged"] == 950
    assert "not_attempted" not in found


@pytest.mark.parametrize(("look", "addresses", "rows"), [("auto", 1, 120), ("always", 2, 120)])
def test_caps(tmp_path, look, addresses, rows):
    """With looking and calling together no second holds more sends than the cap of account or address.

    The caps are a fifth of the service's. What was sent evenly may arrive in bunches on a busy machine: the emulator
    has twice as much.
    """
    with emulator(latency_ms=(5, 60), caps={"account_cap": 200, "address_cap": 120}) as service:
        place = Place(tmp_path, service, rows, cas=40 if look == "always" else 3)
        if look == "always":
            # CAs too big to page through, so that rows are read one by one.
            big = [(f"77{number:08d}", f"00ca{ca:06d}") for ca in range(40) for number in range(101)]
            service.seed(big, "0")
        lanes = [part for number in range(addresses) for part in ("--source-address", f"127.0.0.{number + 2}")]
        where = ("--endpoint", service.url, "--instance", INSTANCE, "--yes", "--preflight", look)
        caps = ("--rate", "100", "--per-address-rate", "60")
        here(*place.arguments(*lanes, *caps, where=where)).ended(0)

        report = service.report()
        assert summary_of(place.results)["peak_window"] <= (100 if addresses == 2 else 60)
        assert (report.throttled, report.blocks) == (0, 0)
        reads = Counter(call["address"] for call in service.calls() if call["operation"] == BY_CA)
        assert len(reads) == addresses, "a few CAs are read through all lanes"
        assert report.operations[CALL] == rows
        assert report.operations[BY_CA] >= 3
        assert set(place.prior()) == {ACTIVE}

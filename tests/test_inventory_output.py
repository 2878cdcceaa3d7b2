"""Where an inventory may be written, and what is said where it may not; what it says of one certificate."""

import errno

import pytest
from program import INSTANCE, emulator, here, outcomes, write_devices

from bulkcert.errors import BulkcertError
from bulkcert.output.files import cannot_write, refuse_taken


@pytest.fixture(scope="module")
def service():
    with emulator() as started:
        yield started


def take(service, output, *more):
    return here("inventory", "-o", output, "--endpoint", service.url, "--instance", INSTANCE, *more)


def test_results_of_a_run_are_never_replaced(service, tmp_path):
    """What the folder of a run stands beside is its results: no inventory replaces them, whatever is asked for."""
    service.seed(write_devices(tmp_path / "d.csv", 3))
    results = tmp_path / "r.csv"
    here("run", "inactivate-device", tmp_path / "d.csv", "-o", results, *service.where).ended(0)
    before = results.read_bytes()

    refused = take(service, results, "--overwrite").ended(73)

    assert f"r.csv is the results of a run: {results}.run is its folder" in refused.stderr
    assert "--overwrite" not in refused.stderr
    assert results.read_bytes() == before
    assert outcomes(results) == {"succeeded": 3}


def test_not_even_before_there_are_any(tmp_path):
    """A run that has begun and has written no results yet keeps its name, too."""
    (tmp_path / "r.csv.run").mkdir()
    (tmp_path / "r.csv.run" / "store.sqlite").touch()

    with pytest.raises(BulkcertError, match="is the results of a run") as refused:
        refuse_taken(tmp_path / "r.csv", overwrite=True)

    assert refused.value.status == 73


def test_advice_fits_the_obstacle(service, tmp_path):
    """A directory that is missing is to be created; one that stands there cannot be overwritten."""
    (tmp_path / "d.csv").mkdir()

    missing, taken = (take(service, path).ended(73) for path in (tmp_path / "no/x.csv", tmp_path / "d.csv"))

    assert "Create the directory" in missing.stderr
    assert "d.csv is a directory" in taken.stderr
    assert "--overwrite" not in taken.stderr


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.EROFS, "mounted read-only"),
        (errno.EACCES, "You may not write there"),
        (errno.ENOTDIR, "Create the directory"),
        (errno.ENOSPC, "Make room"),
    ],
)
def test_advice_by_the_system_error(tmp_path, number, advice):
    """Each obstacle has its own advice, and nothing but a full disk needs room."""
    error = cannot_write(tmp_path / "x.csv", OSError(number, "why"))

    assert advice in error.advice
    assert ("Make room" in error.advice) == (number == errno.ENOSPC)


def test_one_of_each(service, tmp_path):
    """One page is no "1 pages"."""
    service.tell("seed", instance="post-cn-1", rows=[("00ca", "00d1")])

    where = ("--endpoint", service.url, "--instance", "post-cn-1")
    said = here("inventory", "-o", tmp_path / "out.csv", *where)

    assert "; 1 page, 0 retries, 0 throttles" in said.ended(0).stdout

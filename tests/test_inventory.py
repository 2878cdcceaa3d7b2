"""``bulkcert inventory``: everything that is registered, once, in a file that is whole or not there."""

import datetime as dt
import json
import signal
from types import SimpleNamespace

import polars as pl
import pytest
from made_store import made_run
from program import INSTANCE, KEY_ID, PATIENCE_S, UNHURRIED, emulator, here, outcomes, signalled, start, wait_for

from bulkcert.commands.inventory import _got
from bulkcert.engine.pacer import ADDRESS_SHARE
from bulkcert.service.actions import INSTANCE_ACCESS

COUNTS = (0, 1, 99, 100, 101, 2345)
TIME = pl.Datetime("ms", "UTC")


def pairs(count, cas=3):
    return [(f"00{number:010d}", f"00ca{number % cas:06d}") for number in range(1, count + 1)]


def take(service, file, *more, instance=INSTANCE, endpoint=None, caps=UNHURRIED):
    where = ("--endpoint", endpoint or service.url, "--instance", instance)
    return here("inventory", *where, *caps, "-o", file, *more)


def read(file):
    if file.suffix == ".parquet":
        return pl.read_parquet(file)
    return pl.read_ndjson(file) if file.suffix == ".ndjson" else pl.read_csv(file, infer_schema=False)


def devices_in(file):
    table = read(file)
    return sorted(table.select("DeviceSn", "CaSn").rows()) if table.height else []


def milliseconds(text):
    return int(dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp() * 1000)


def left(directory):
    return sorted(path.name for path in directory.iterdir())


@pytest.fixture
def service():
    with emulator() as running:
        yield running


@pytest.mark.parametrize("total", ["documented", "results", "pages", "zero"])
def test_exactly_once(tmp_path, total):
    """Whatever ``Total`` says and however many there are, each certificate comes exactly once; by CA, too."""
    with emulator(list_total=total) as service:
        for count in COUNTS:
            instance, expected = f"post-cn-{count}", sorted(pairs(count))
            service.tell("instance", id=instance)
            service.seed(expected, instance=instance)
            file, by_ca = tmp_path / f"{instance}.csv", tmp_path / f"{instance}.by-ca.parquet"

            told = json.loads(take(service, file, "--json", "-q", instance=instance).ended(0).stdout)
            assert devices_in(file) == expected
            assert told["certificates"] == told["read"] == count
            if cas := sorted({ca for _, ca in expected}):
                take(service, by_ca, *(part for ca in cas for part in ("--ca-sn", ca)), instance=instance).ended(0)
                assert devices_in(by_ca) == expected


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet", ".ndjson"])
def test_formats(tmp_path, service, suffix):
    """Every format holds the same, times as such, and is an input for a run as it is."""
    limits = milliseconds("2026-01-01T00:00:00.123"), milliseconds("2027-01-01")
    rows = [(ca, device) for device, ca in pairs(150, cas=1)]
    service.tell("seed", instance=INSTANCE, rows=rows, valid_begin=limits[0], valid_end=limits[1])
    service.tell("connect", instance=INSTANCE, ca_sn=rows[0][0], device_sn="named")
    named = "UPDATE devices SET DeviceName = 'Tür, 7' WHERE DeviceSn = 'named'"
    service._portal.call(service._emulator.registry._db.execute, named)
    file = tmp_path / f"all{suffix}"

    told = take(service, file).ended(0).stdout
    table = read(file)

    assert table.columns == ["DeviceSn", "CaSn", "DeviceName", "Status", "ValidBegin", "ValidEnd", "MqttInstanceId"]
    assert "151 active" in told
    assert file.stat().st_mode & 0o777 == 0o600
    begins, ends = dt.datetime(2026, 1, 1, 0, 0, 0, 123000, dt.UTC), dt.datetime(2027, 1, 1, tzinfo=dt.UTC)
    written = (begins, ends) if suffix == ".parquet" else ("2026-01-01T00:00:00.123Z", "2027-01-01T00:00:00.000Z")
    seeded = table.filter(pl.col("DeviceSn") != "named")
    assert set(seeded.select("ValidBegin", "ValidEnd").rows()) == {written}
    assert table.filter(pl.col("DeviceSn") == "named")["DeviceName"].to_list() == ["Tür, 7"]
    assert suffix != ".parquet" or table.schema["ValidEnd"] == TIME

    results = tmp_path / "results.csv"
    here("run", "inactivate-device", file, "-o", results, *service.looking, "-q").ended(0)
    assert outcomes(results) == {"succeeded": 151}


def test_cas(tmp_path, service):
    """The CAs are listed by their own serials, and are an input for an action on CAs."""
    service.tell("seed", instance=INSTANCE, rows=[(f"00ca{number:04d}", "") for number in range(250)])
    file, results = tmp_path / "cas.csv", tmp_path / "results.csv"

    take(service, file, "--cas").ended(0)

    table = read(file)
    assert table.columns == ["CaSn", "CaName", "Status", "ValidBegin", "ValidEnd", "MqttInstanceId"]
    assert sorted(table["CaSn"]) == [f"00ca{number:04d}" for number in range(250)]
    here("run", "inactivate-ca", file, "-o", results, *service.looking, "-q").ended(0)
    take(service, tmp_path / "off.csv", "--cas", "--status", "active").ended(0)
    assert read(tmp_path / "off.csv").height == 0


def test_filters(tmp_path, service):
    """By status, by expiry, by both; what ends at the very time is after it."""
    for number, (status, end) in enumerate([("1", "2026-11-30"), ("0", "2026-11-30"), ("1", "2026-12-01")]):
        rows = [("ca", f"{number}-{device}") for device in range(120)]
        service.tell("seed", instance=INSTANCE, rows=rows, status=status, valid_end=milliseconds(end))

    def found(*options):
        file = tmp_path / "found.csv"
        take(service, file, "--overwrite", *options).ended(0)
        return {device.split("-")[0] for device, _ in devices_in(file)}

    assert found("--status", "active") == {"0", "2"}
    assert found("--expires-before", "2026-12-01") == {"0", "1"}
    assert found("--expires-after", "2026-12-01T01:00:00+01:00") == {"2"}
    assert found("--expires-before", "2026-12-01", "--status", "inactive") == {"1"}
    assert found("--expires-before", "2026-11-30") == set()


def test_errors(tmp_path, service):
    """Each ends with its status, says why, and leaves nothing behind."""
    service.seed(pairs(10))
    there = tmp_path / "there.csv"
    there.write_text("mine\n")
    file = tmp_path / "out.csv"
    known = ("--ca-sn", pairs(1)[0][1])

    assert "--overwrite" in take(service, there).ended(73).stderr
    assert "no such CA" in take(service, file, *known, "--ca-sn", "unheard-of").ended(65).stderr
    unheard = take(service, there, "--overwrite", "--ca-sn", "unheard-of").ended(65).stderr
    assert unheard.count("unheard-of") == 1, "with several pages in flight, too"
    take(service, file, instance="post-cn-none").ended(78)
    take(service, file, "--attempts", "1", endpoint="http://127.0.0.1:9").ended(69)
    assert "Create the directory" in take(service, tmp_path / "no" / "out.csv").ended(73).stderr
    (tmp_path / "d.csv").mkdir()
    taken = take(service, tmp_path / "d.csv").ended(73).stderr
    assert "d.csv is a directory" in taken
    assert "--overwrite" not in taken
    take(service, tmp_path, "--overwrite").ended(2)
    for wrong in (("--expires-before", "soon"), ("--cas", *known), ("--ca-sn", ""), ("-o", "out.txt")):
        assert "No calls were made" in take(service, file, *wrong).ended(2).stderr
    period = ("--expires-after", "2027-01-01", "--expires-before", "2026-01-01")
    take(service, file, *period).ended(2)
    service.tell("access-key", id=KEY_ID, denied=["mq:ListDeviceCertificate", INSTANCE_ACCESS])
    denied = take(service, file).ended(77).stderr
    assert "Grant mq:ListDeviceCertificate and mq:MqttInstanceAccess" in denied

    assert left(tmp_path) == ["d.csv", "there.csv"]
    assert there.read_text() == "mine\n"
    assert KEY_ID not in denied


@pytest.mark.parametrize(("number", "status", "times"), [(signal.SIGINT, 130, 1), (signal.SIGTERM, 143, 2)])
def test_signals(tmp_path, service, number, status, times):
    """A signal in the middle leaves nothing behind; nor do two, of which the second may come when all is over."""
    service.seed(pairs(20_000))
    where = ("--endpoint", service.url, "--instance", INSTANCE, "--rate", "12", "-o", tmp_path / "out.csv")
    before = service.report().arrivals
    with start("inventory", *where) as child:
        wait_for(child, lambda: service.report().arrivals >= before + 3)
        for _ in range(times):
            signalled(child, number)
        _, stderr = child.communicate(timeout=PATIENCE_S)
    assert child.returncode in (status, -number) if times > 1 else child.returncode == status, stderr
    assert b"Traceback" not in stderr
    assert left(tmp_path) == []


def test_caps(tmp_path):
    """No second holds more sends than the address cap allows a lane: of its own record, which has every arrival."""
    with emulator() as service:
        service.seed(pairs(6000, cas=1))
        taken = take(service, tmp_path / "all.parquet", "--json", "-q", caps=("--per-address-rate", "40")).ended(0)
        report = service.report()

    told = json.loads(taken.stdout)
    assert told["certificates"] == 6000
    assert report.arrivals == told["calls"] >= 60
    assert told["peak_window"] <= 40 * ADDRESS_SHARE


@pytest.mark.parametrize("written", [True, False])
def test_results_of_a_run_are_never_replaced(service, tmp_path, written):
    """What the folder of a run stands beside is its results, there or to come: no inventory takes their name."""
    results = made_run(tmp_path).results
    if written:
        results.write_text("precious")

    refused = take(service, results, "--overwrite").ended(73)

    assert f"{results.name} is the results of a run: {results}.run is its folder" in refused.stderr
    assert "--overwrite" not in refused.stderr
    assert results.exists() == written


def test_what_is_known_of_the_rest():
    """How many of several CAs are read, and how long it takes, as far as the service says how many there are."""
    stats = SimpleNamespace(to_page=0, pages=3, rate=9.0, left_s=None)
    taking = SimpleNamespace(read=300, cas_read=1, options=SimpleNamespace(ca_sn=()))
    assert _got(taking, stats) == "300 certificates on 3 pages; 9/s; how many are left is not known"
    taking.options.ca_sn, stats.to_page, stats.left_s = ("1", "2"), 6, 60
    assert _got(taking, stats) == "300 certificates of 1 of 2 CAs on 3 of 6 pages; 9/s; 1 min 0 s left"

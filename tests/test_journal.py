"""The journal: what is synced survives, what is torn is cut off, and nobody else writes."""

import os

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulkcert.batch.lines import Header, Intent, decode_line, encode_lines, session_line
from bulkcert.batch.outcome import Outcome, Record
from bulkcert.batch.recovery import open_journal
from bulkcert.errors import BulkcertError, ExitStatus

ROWS = 50
HEADER = Header("inactivate-device", "post-cn-1", "https://h", "00" * 32, ROWS, ("DeviceSn", "CaSn"), "1")
SESSION = session_line(1_700_000_000_000, "1")

records = st.builds(
    Record,
    row=st.integers(1, ROWS),
    outcome=st.sampled_from([Outcome.SUCCEEDED, Outcome.FAILED, Outcome.UNKNOWN, Outcome.NOT_REGISTERED]),
    code=st.text(max_size=10),
    message=st.text(max_size=40),
    attempts=st.integers(1, 9),
    again=st.booleans(),
)


def begun(path, header=HEADER):
    """A journal that a session has begun to write."""
    journal = open_journal(path, header, SESSION)
    journal.begin()
    return journal


async def write(path, lines):
    journal = begun(path)
    async with anyio.create_task_group() as group:
        group.start_soon(journal.commit_groups, pytest.fail)
        for line in lines:
            await journal.append(line)
        await journal.sync()
        group.cancel_scope.cancel()
    return journal


def read_back(journal):
    lines = [decode_line(line + b"\n") for line in journal.lines(1, ROWS).splitlines()]
    return {record.row: record for record in lines}


async def test_a_synced_record_is_read_back(tmp_path):
    """What was synced is there for the next session, and the newest line of a row counts."""
    first = Record(3, Outcome.FAILED, code="InternalError", attempts=2)
    second = Record(3, Outcome.SUCCEEDED, attempts=1)
    (await write(tmp_path / "j", [first, Record(4, Outcome.SUCCEEDED), second])).close()
    journal = open_journal(tmp_path / "j", HEADER, SESSION)

    assert read_back(journal) == {3: second, 4: Record(4, Outcome.SUCCEEDED)}
    assert not journal.is_new
    assert journal.index.final == 2
    journal.close()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(written=st.lists(records, max_size=20), cut=st.integers(0, 4000), garbage=st.binary(max_size=60))
def test_recovery_of_any_torn_journal(tmp_path_factory, written, cut, garbage):
    """Cut the file anywhere and put rubbish behind it: every whole line counts, nothing else does, and it goes on."""
    path = tmp_path_factory.mktemp("torn") / "j"
    prefix = encode_lines(HEADER, SESSION)
    lines = [encode_lines(record) for record in written]
    kept = (prefix + b"".join(lines))[: len(prefix) + cut]
    path.write_bytes(kept + garbage.replace(b"\n", b"") + b"\x00")

    whole, size = {}, len(prefix)
    for record, line in zip(written, lines, strict=True):
        size += len(line)
        if size <= len(kept):
            whole[record.row] = record
    journal = open_journal(path, HEADER, SESSION)
    assert read_back(journal) == whole
    journal.close()

    after = anyio.run(write, path, [Record(1, Outcome.SUCCEEDED, message="after")])
    assert read_back(after) == {**whole, 1: Record(1, Outcome.SUCCEEDED, message="after")}
    after.close()


async def test_a_damaged_line_in_the_middle_costs_only_its_row(tmp_path):
    """Damage inside the file is named by its line, and only that row is called again."""
    (await write(tmp_path / "j", [Record(row, Outcome.SUCCEEDED) for row in (1, 2, 3)])).close()
    text = (tmp_path / "j").read_bytes()
    (tmp_path / "j").write_bytes(text.replace(b'"row":2', b'"row":\xff'))
    journal = open_journal(tmp_path / "j", HEADER, SESSION)

    assert set(read_back(journal)) == {1, 3}
    assert journal.damaged_lines == (4,)
    journal.close()


async def test_rows_to_take_up_again(tmp_path):
    """A record marked ``again`` has an outcome to show, and is still called by the next session."""
    records = [Record(1, Outcome.SUCCEEDED), Record(2, Outcome.UNKNOWN, again=True), Record(3, Outcome.FAILED)]
    journal = await write(tmp_path / "j", records)

    assert [journal.index.is_final(row) for row in (1, 2, 3, 4)] == [True, False, True, False]
    journal.index.reopen({Outcome.FAILED})
    assert [journal.index.is_final(row) for row in (1, 2, 3, 4)] == [True, False, False, False]
    assert journal.index.again == 2
    journal.close()


async def test_intents_last_until_the_outcome_is_known(tmp_path):
    """An intent without a final outcome is remembered by the next session; one that led to no call is not."""
    lines = [Intent(1), Intent(2), Intent(3), Intent(4)]
    lines += [Record(2, Outcome.SUCCEEDED), Record(3, Outcome.UNKNOWN, again=True)]
    lines += [Record(4, Outcome.NOT_ATTEMPTED, again=True)]
    (await write(tmp_path / "j", lines)).close()
    journal = open_journal(tmp_path / "j", HEADER, SESSION)

    assert journal.index.intents == {1, 3}
    journal.close()


def test_only_one_holder(tmp_path):
    """A second run is refused, and told who holds the journal."""
    holder = begun(tmp_path / "j")
    with pytest.raises(BulkcertError, match=f"process {os.getpid()} on") as refusal:
        open_journal(tmp_path / "j", HEADER, SESSION)

    assert refusal.value.status is ExitStatus.CANNOT_WRITE
    holder.close()
    open_journal(tmp_path / "j", HEADER, SESSION).close()


@pytest.mark.parametrize(
    ("field", "value"),
    [("action", "activate-device"), ("instance", "other"), ("sha256", "11" * 32), ("endpoint", "https://other")],
)
async def test_another_runs_journal_is_refused(tmp_path, field, value):
    """A journal of another action, instance, endpoint or input is not gone on with, and stays as it is."""
    (await write(tmp_path / "j", [Record(1, Outcome.SUCCEEDED)])).close()
    before = (tmp_path / "j").read_bytes()
    other = Header(**{name: getattr(HEADER, name) for name in Header.__struct_fields__} | {field: value})
    with pytest.raises(BulkcertError) as refusal:
        open_journal(tmp_path / "j", other, SESSION)

    assert refusal.value.status is ExitStatus.INPUT_INVALID
    assert str(value) in refusal.value.message
    assert (tmp_path / "j").read_bytes() == before


def test_a_journal_without_rows_binds_nobody(tmp_path):
    """A run that ended before its first call does not stand in the way of the next, whatever that one does."""
    begun(tmp_path / "j").close()
    other = Header("activate-device", "post-cn-2", "https://h", "11" * 32, 7, ("DeviceSn", "CaSn"), "1")
    begun(tmp_path / "j", other).close()
    journal = open_journal(tmp_path / "j", other, SESSION)

    assert not journal.is_new
    journal.close()


async def test_nothing_is_written_before_the_run_begins(tmp_path):
    """Who opens a journal and thinks better of it leaves it as it was; a new one is gone again."""
    open_journal(tmp_path / "new", HEADER, SESSION).close()
    (await write(tmp_path / "j", [Record(1, Outcome.SUCCEEDED)])).close()
    before = (tmp_path / "j").read_bytes()
    open_journal(tmp_path / "j", HEADER, SESSION).close()
    open_journal(tmp_path / "j", HEADER, SESSION, anew=True).close()

    assert (tmp_path / "j").read_bytes() == before
    assert not (tmp_path / "new").exists()


async def test_refused_rows_bind_nobody(tmp_path):
    """Rows that were refused because of, say, a wrong instance do not keep the corrected command from running."""
    (await write(tmp_path / "j", [Record(1, Outcome.NOT_ATTEMPTED, code="MqttInstanceNotFound", again=True)])).close()
    other = Header(**{name: getattr(HEADER, name) for name in Header.__struct_fields__} | {"instance": "right"})
    journal = open_journal(tmp_path / "j", other, SESSION)

    assert journal.is_new
    journal.close()


def test_a_newer_version_goes_on(tmp_path):
    """An update of the program in the middle of a run does not orphan its journal."""
    begun(tmp_path / "j").close()
    newer = Header(**{name: getattr(HEADER, name) for name in Header.__struct_fields__} | {"version": "2"})
    open_journal(tmp_path / "j", newer, SESSION).close()


async def test_both_hosts_of_a_region_are_one_service(tmp_path):
    """A run that began at the public endpoint goes on inside the VPC, and nowhere else."""
    fields = {name: getattr(HEADER, name) for name in Header.__struct_fields__}
    public = Header(**fields | {"endpoint": "https://onsmqtt.cn-hangzhou.aliyuncs.com"})
    inside = Header(**fields | {"endpoint": "https://onsmqtt-vpc.cn-hangzhou.aliyuncs.com"})
    other = Header(**fields | {"endpoint": "https://onsmqtt.cn-shanghai.aliyuncs.com"})
    path = tmp_path / "j"
    path.write_bytes(encode_lines(public, SESSION, Record(1, Outcome.SUCCEEDED)))
    open_journal(path, inside, SESSION).close()

    with pytest.raises(BulkcertError, match="the endpoint"):
        open_journal(path, other, SESSION)


def test_a_foreign_file_is_left_alone(tmp_path):
    """What is not a journal is neither read as one nor overwritten."""
    (tmp_path / "j").write_text("my notes\n")
    with pytest.raises(BulkcertError, match="not the header"):
        open_journal(tmp_path / "j", HEADER, SESSION)

    assert (tmp_path / "j").read_text() == "my notes\n"


def test_a_crash_while_starting_leaves_no_obstacle(tmp_path):
    """An empty journal, or one whose header is torn, says nothing, and is started anew."""
    for left in (b"", encode_lines(HEADER)[:40]):
        (tmp_path / "j").write_bytes(left)
        journal = open_journal(tmp_path / "j", HEADER, SESSION)
        assert journal.is_new
        journal.close()


async def test_a_full_disk_is_reported_once_and_tears_nothing(tmp_path, monkeypatch):
    """When the disk refuses, the journal ends with a whole line and says so; what follows is not written."""
    journal = await write(tmp_path / "j", [Record(1, Outcome.SUCCEEDED)])
    before = (tmp_path / "j").read_bytes()
    failures, write_bytes = [], os.write

    def full(file, blob):
        if len(blob) > 10:
            return write_bytes(file, blob[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    async with anyio.create_task_group() as group:
        group.start_soon(journal.commit_groups, failures.append)
        for row in range(2, 30):
            await journal.append(Record(row, Outcome.SUCCEEDED))
        await journal.sync()
        group.cancel_scope.cancel()

    assert [error.errno for error in failures] == [28]
    assert (tmp_path / "j").read_bytes() == before
    assert journal.index.final == 1
    journal.close()


def test_mode_is_private(tmp_path):
    """Serials are nobody else's business."""
    begun(tmp_path / "j").close()

    assert (tmp_path / "j").stat().st_mode & 0o777 == 0o600

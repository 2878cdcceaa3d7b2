"""An attempt whose answer was lost: whatever a later attempt is told, the row may have been done by the first."""

from program import bulkcert, emulator, read_results, write_devices


def test_a_refusal_after_a_lost_answer_says_nothing_of_the_first_attempt(tmp_path):
    """No row that was really changed is failed: it is unknown, says why, and undo takes it back."""
    with emulator(tmp_path) as service:
        devices = write_devices(tmp_path / "d.csv", 60)
        service.seed(devices, "1")
        run = ("run", "inactivate-device", "d.csv", *service.looking, "-o", "r.csv", "--max-errors", "100%")
        bulkcert(*run, "--limit-rows", "1", cwd=tmp_path).ended(75)
        service.tell("faults", shares={"drop-after": 0.4, "ParameterFieldCheckFailed": 0.3}, seed=3)
        bulkcert(*run, cwd=tmp_path).ended(1)
        service.tell("faults", shares={}, seed=3)

        rows, states = read_results(tmp_path / "r.csv"), service.states(devices)
        done = [row for row, state in zip(rows, states, strict=True) if state == "0"]
        assert {row["outcome"] for row in done} == {"succeeded", "unknown"}
        lost = [row for row in rows if row["outcome"] == "unknown" and row["code"] == "ParameterFieldCheckFailed"]
        assert lost
        assert all("the answer to an earlier attempt was lost" in row["message"] for row in lost)
        assert {row["outcome"] for row in rows if row["code"] and row not in lost} <= {"failed", "unknown"}
        bulkcert("undo", "r.csv", "--yes", cwd=tmp_path).ended(0)
        assert service.states(devices) == ["1"] * 60

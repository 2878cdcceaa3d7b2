"""What runs leave behind is not for the repository."""

import subprocess
from pathlib import Path

import pytest

from bulkcert.store.paths import RunFiles

ROOT = Path(__file__).parent.parent
RUNS = [RunFiles(Path("jobs", name)) for name in ("x.results.csv", "x.rehearsal.parquet", "r.csv")]
LEFT = [
    *(str(run.results) for run in RUNS[:2]),
    *(
        str(path)
        for run in RUNS
        for path in (run.store, run.pinned("1"), run.summary, run.lock, run.report, run.failed)
    ),
]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no working tree of git")
def test_ignored():
    """Results, the folders of runs and reports are ignored; jobs and their sample are not."""
    asked = ("git", "check-ignore", "--no-index", *LEFT, "jobs/sample-devices.csv", "jobs/mass-revocation.toml")

    ignored = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()

    assert ignored == LEFT

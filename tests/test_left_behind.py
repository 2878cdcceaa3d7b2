"""What runs leave behind is not for the repository."""

import subprocess

import pytest
from test_readme import ROOT

LEFT = (
    "jobs/x.results.csv",
    "jobs/x.results.csv.journal",
    "jobs/x.results.csv.status.json",
    "jobs/x.results.undo.csv",
    "jobs/x.results.rehearsal.csv",
    "jobs/x.results.rehearsal.undo.csv",
    "jobs/x.results.rehearsal.undo-list.csv",
    "r.undo-list.parquet",
    "r.report.html",
)


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no working tree of git")
def test_ignored():
    """Results, journals, lists of undos and reports are ignored; jobs and their sample are not."""
    asked = ("git", "check-ignore", "--no-index", *LEFT, "jobs/sample-devices.csv", "jobs/mass-revocation.toml")

    ignored = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()

    assert ignored == list(LEFT)

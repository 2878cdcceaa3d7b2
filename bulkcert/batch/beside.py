"""The names of the files that stand beside the results of a run."""

from pathlib import Path


def journal_of(results: Path) -> Path:
    """Returns the journal of the run that makes these results."""
    return results.with_name(f"{results.name}.journal")


def summary_of(results: Path) -> Path:
    """Returns the summary of the run that made these results."""
    return results.with_name(f"{results.name}.summary.json")


def report_of(results: Path) -> Path:
    """Returns the report of the run that made these results, unless another file is named."""
    return results.with_name(f"{results.name}.report.html")


def undo_list_of(results: Path) -> Path:
    """Returns the list of the rows that an undo of this run takes back."""
    return results.with_name(f"{results.name}.undo-list.csv")


def undo_results_of(results: Path) -> Path:
    """Returns the results of an undo of this run, unless it names others."""
    return results.with_name(f"{results.stem}.undo{results.suffix}")

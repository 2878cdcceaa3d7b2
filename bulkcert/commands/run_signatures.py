"""What the commands take that are about a run and change nothing by themselves."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from bulkcert.commands import do
from bulkcert.formats import SUFFIXES_SHOWN
from bulkcert.report import Format
from bulkcert.runs.converters import names_of
from bulkcert.runs.options import (
    MAIN,
    GuardOptions,
    Results,
    StateOptions,
    number,
)
from bulkcert.runs.other_options import ReportOptions, VerifyOptions
from bulkcert.store.outcome import Outcome

OfStore = Annotated[Path, Parameter(name="--results")]


Output = Annotated[Path | None, Parameter(name=["--output", "-o"], metavar="FILE")]


def verify(results: Results, *, options: VerifyOptions = VerifyOptions()) -> int:
    """Read back the status of every row of a run.

    bulkcert verify devices.inactivate-device.results.csv
    bulkcert verify devices.inactivate-device.results.csv --watch 10m

    What it reads is added to the results; 0 only if all rows are in the desired state.

    Args:
        results: The results of the run. With --job those of the job.
    """
    return do("verify", results, options)


def status(
    results: Results,
    *,
    follow: Annotated[bool, Parameter(name=["--follow", "-f"])] = False,
    json: bool = False,
    options: StateOptions = StateOptions(),
) -> int:
    """Show the status of a run, from another terminal.

    bulkcert status devices.inactivate-device.results.csv
    bulkcert status --follow devices.inactivate-device.results.csv

    It reads the run's store, and writes nothing.

    Args:
        results: The results of the run, or its folder. With --job those of the job.
        follow: Follow until the run ends, and exit as it did: a live view on a terminal, else a line every 5 s.
        json: Print one JSON object; with --follow one a line. Its "state" is starting, running, stalled (it may hang),
            ended or interrupted; its "kind" is run, undo or verify.
    """
    return do("status", results, options.state_dir, follow=follow, json=json)


def control(
    results: Results,
    *,
    rate: Annotated[int | None, number(MAIN)] = None,
    per_address_rate: Annotated[int | None, number(MAIN)] = None,
    pause: bool = False,
    continue_: Annotated[bool, Parameter(name="--continue")] = False,
    stop: bool = False,
    limits_raised: bool = False,
    options: StateOptions = StateOptions(),
) -> int:
    """Change the rate of a running session; pause or stop it.

    bulkcert control devices.inactivate-device.results.csv --rate 200
    bulkcert control devices.inactivate-device.results.csv --pause

    The session does it within a second. What is asked is typed: it is read from
    no job file and no environment. Status, log and report show who asked.

    Args:
        results: The results of the run. With --job those of the job.
        rate: From now on, calls per second of the account.
        per_address_rate: From now on, calls per second of each address.
        pause: Send no more calls until --continue; a deadline still holds.
        continue_: End a pause.
        stop: Stop in order, as SIGTERM does, but with 75; resume continues.
        limits_raised: Allow more than at the start of the session, and more than what is documented.
    """
    given = {"rate": (rate, per_address_rate) != (None, None), "pause": pause, "continue": continue_, "stop": stop}
    requests = [name for name, is_given in given.items() if is_given]
    return do("control", results, options.state_dir, requests, (rate, per_address_rate), limits_raised=limits_raised)


def runs(
    directory: Path = Path(),
    *,
    json: bool = False,
    state_dir: Annotated[Path | None, Parameter(metavar="DIRECTORY")] = None,
) -> int:
    """List the runs in a directory.

    bulkcert runs
    bulkcert runs nightly --json

    Args:
        directory: Where results are; by default this directory.
        json: Print one JSON object a line.
        state_dir: Where the folders of runs are that were started with --state-dir; in place of the directory.
    """
    return do("runs", directory, state_dir, json=json)


def report(
    results: OfStore,
    *,
    output: Output = None,
    format: Format | None = None,  # noqa: A002 - as it is typed
    options: ReportOptions = ReportOptions(),
) -> int:
    """Report a run in one page, as HTML, text, Markdown or JSON.

    bulkcert report devices.inactivate-device.results.csv
    bulkcert report r.csv --title "Leak of 12 May" --timezone Asia/Shanghai

    It needs no credentials, calls nothing, and disturbs no session that runs.

    Args:
        results: The results of the run, which need not be there. With --job those of the job.
        output: The file; its name says the format. - is standard output. Default: RESULTS.report.html; for
            other formats standard output.
        format: html, the default, is one page; text and md are for mail and tickets, json for programs.
    """
    return do("report", results, output, format, options)


def export(
    results: OfStore,
    *,
    output: Annotated[
        Output, Parameter(help=f"The file: {SUFFIXES_SHOWN}; - is standard output. Default: the results, again.")
    ] = None,
    outcome: Annotated[
        tuple[Outcome, ...],
        Parameter(
            name_transform=str.lower,  # an outcome is shown as it is typed
            converter=names_of(Outcome),
            metavar="OUTCOME,…",
        ),
    ] = (),
    code: Annotated[tuple[str, ...], Parameter(metavar="CODE")] = (),
    ca_sn: Annotated[tuple[str, ...], Parameter(metavar="SERIAL")] = (),
    overwrite: bool = False,
    guard: GuardOptions = GuardOptions(),
    check: bool = False,
    report: Annotated[Path | None, Parameter(metavar="FILE")] = None,
    options: StateOptions = StateOptions(),
) -> int:
    """Write results again, all rows or some, in any format.

    bulkcert export devices.inactivate-device.results.csv -o all.parquet
    bulkcert export devices.inactivate-device.results.csv --outcome failed -o f.csv

    What it writes is valid as an input for run. It makes no calls, and a session may be running.

    Args:
        results: The results of the run. With --job those of the job.
        output: The file; its suffix is the format.
        outcome: Only rows with one of these outcomes.
        code: Only rows with this code; may be given more than once.
        ca_sn: Only rows under this CA; may be given more than once.
        overwrite: Replace a file that is there.
        check: Write nothing; prove that store, results, summary and report are whole and belong together.
        report: With --check: the report, if it is not RESULTS.report.html.
    """
    only = (outcome, code, ca_sn)
    more = {"overwrite": overwrite, "guards": guard.formula_guard, "checks": (check, report)}
    return do("export", results, options.state_dir, output, only, **more)

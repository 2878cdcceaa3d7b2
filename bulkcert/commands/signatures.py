"""What every command takes, and what its help says. Nothing heavy is loaded before a command is called."""

import gc
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from bulkcert.emulator.settings import Settings
from bulkcert.report import Format
from bulkcert.runs.command_options import (
    DoctorOptions,
    InventoryOptions,
    LaneOptions,
    PlanOptions,
    PolicyOptions,
    ReportOptions,
    Stage,
    VerifyOptions,
)
from bulkcert.runs.converters import names_of, whole_number
from bulkcert.runs.options import (
    MAIN,
    SAFETY,
    CallOptions,
    Inputs,
    Options,
    Results,
    ResumeOptions,
    RunOptions,
    ServiceOptions,
    StateOptions,
    number,
)
from bulkcert.service.actions import ActionName
from bulkcert.store.outcome import Outcome
from bulkcert.views.console import show_log

OfStore = Annotated[Path, Parameter(name="--results", group=MAIN)]


def _loaded(module: str) -> Any:
    """Loads what a command needs; from then on garbage is collected, and not looked for among what was loaded."""
    found = import_module(f"bulkcert.{module}")
    gc.freeze()
    gc.enable()
    return found


def _do(command: str, *arguments: object, **options: object) -> int:
    """Loads the module of a command, and calls its function of the same name; its log begins before that."""
    for asked in (*arguments, *options.values()):
        if isinstance(asked, ServiceOptions):
            show_log(verbose=asked.verbose, quiet=asked.quiet, file=asked.log_file)
    return int(getattr(_loaded(f"commands.{command}"), command)(*arguments, **options))


Output = Annotated[Path | None, Parameter(name=["--output", "-o"], group=MAIN, metavar="FILE")]


def inventory(*, options: InventoryOptions = InventoryOptions()) -> int:
    """List registered certificates into a file, as an input.

    bulkcert inventory -o devices.csv --instance ID --region REGION
    bulkcert inventory --cas -o cas.csv --instance ID --region REGION
    """
    return _do("inventory", options)


def plan(action: ActionName, input_: Inputs, options: PlanOptions = PlanOptions()) -> int:
    """Find out what a run would do and cost; change nothing.

    bulkcert plan inactivate-device devices.csv --instance ID --region REGION
    bulkcert plan --job where.toml -o devices.plan.json

    Args:
        action: What would be done with each row.
        input_: The list, as for run.
    """
    return _do("plan", action, input_, options)


def doctor(*, options: DoctorOptions = DoctorOptions()) -> int:
    """Check what a run needs: credentials, service, clock, disk.

    bulkcert doctor --instance ID --region REGION
    bulkcert doctor --job where.toml --json

    It reads at most ten certificates, and changes nothing. Without an instance
    it checks this machine alone.
    """
    return _do("doctor", options)


def policy(action: ActionName, *, options: PolicyOptions = PolicyOptions()) -> int:
    """Print the minimal RAM policy for what a run calls.

    bulkcert policy inactivate-device
    bulkcert policy inactivate-ca --undo --instance ID

    What is called mq:Unregister… there is the permission to inactivate; it deletes nothing.

    Args:
        action: What the run will do with each row.
    """
    return _do("policy", action, options)


def rehearse(action: ActionName, input_: Inputs, options: Options = Options(), stage: Stage = Stage()) -> int:
    """Do the same against a local emulator: no account needed.

    bulkcert rehearse inactivate-device devices.csv
    bulkcert rehearse inactivate-device devices.csv --faults --and-then verify

    Args:
        action: What to do with each row.
        input_: The list, as for run.
    """
    return _do("rehearse", action, input_, options, stage)


def emulator(*, settings: Settings = Settings()) -> int:
    """Serve a local emulator of the service until stopped.

    bulkcert emulator
    bulkcert emulator --port 0 --seed-from devices.csv

    It listens on loopback and accepts the key testAccessKeyId with the secret testAccessKeySecret.
    """
    said = '{{"url":"{}"}}' if settings.json else "listening on {}; Ctrl-C stops it"
    _loaded("emulator.server").serve(settings, lambda url: print(said.format(url), flush=True))  # noqa: T201 - the product
    return 0


def cluster(
    what: Annotated[Literal["keys"], Parameter(group=MAIN)],
    directory: Annotated[Path, Parameter(group=MAIN)],
    *,
    lanes: Annotated[int, Parameter(group=MAIN, converter=whole_number, metavar="N")] = 1,
    days: Annotated[int, Parameter(group=MAIN, converter=whole_number, metavar="N")] = 30,
) -> int:
    """Make the keys of several machines that call together.

    bulkcert cluster keys keys --lanes 2
    bulkcert cluster keys keys --lanes 20 --days 90

    An authority of its own, a certificate for the coordinator and one for each lane.

    Args:
        what: What to make.
        directory: Where to; it is made, or must be empty.
        lanes: How many lanes get a certificate.
        days: For how long they are valid.
    """
    return _do("cluster", what, directory, lanes=lanes, days=days)


def lane(where: Annotated[str, Parameter(group=MAIN)], *, options: LaneOptions = LaneOptions()) -> int:
    """Call for runs on another machine, until stopped.

    bulkcert lane tls://10.0.0.5:8786 --keys keys
    bulkcert lane tls://10.0.0.5:8786 --keys keys --source-address 10.0.0.7

    It signs with this machine's own credentials; see bulkcert help cluster.

    Args:
        where: Where the coordinator listens: the URL that its --cluster has.
    """
    return _do("lane", where, options)


def run(action: ActionName, input_: Inputs, options: RunOptions = RunOptions()) -> int:
    """Make one call for each row of a list; write the outcomes.

    bulkcert run inactivate-device devices.csv --instance ID --region REGION
    bulkcert run inactivate-device devices.csv --job where.toml --limit-rows 100

    Args:
        action: What to do with each row.
        input_: The list: .csv, .csv.gz, .csv.zst, .parquet or .ndjson files with the columns DeviceSn and CaSn; - is
            standard input.
    """
    return _do("run", action, input_, options)


def resume(results: Results, *, options: ResumeOptions = ResumeOptions()) -> int:
    """Resume what was interrupted, or retry failed rows.

    bulkcert resume devices.inactivate-device.results.csv
    bulkcert resume devices.inactivate-device.results.csv --retry failed,unknown

    The list is not needed. What was typed at the start of the run, undo or watch
    holds unless it is given again, but --limit-rows and --deadline do not.

    Args:
        results: The results of the run. With --job those of the job.
    """
    return _do("resume", results, options)


def undo(
    results: Results,
    *,
    include_unknown: Annotated[bool | None, Parameter(group=SAFETY, negative="--no-include-unknown")] = None,
    options: CallOptions = CallOptions(),
) -> int:
    """Undo what a run has changed.

    bulkcert undo devices.inactivate-device.results.csv
    bulkcert undo devices.inactivate-device.results.csv --no-include-unknown

    Args:
        results: The results of the run, which show the rows as undone. With --job those of the job.
        include_unknown: Undo what was called though it is not known what it was before; --no-… leaves it.
    """
    return _do("undo", results, options, include_unknown=include_unknown)


def verify(results: Results, *, options: VerifyOptions = VerifyOptions()) -> int:
    """Read back the status of every row of a run.

    bulkcert verify devices.inactivate-device.results.csv
    bulkcert verify devices.inactivate-device.results.csv --watch 10m

    What it reads is added to the results; 0 only if all rows are in the desired state.

    Args:
        results: The results of the run. With --job those of the job.
    """
    return _do("verify", results, options)


def status(
    results: Results,
    *,
    follow: Annotated[bool, Parameter(name=["--follow", "-f"], group=MAIN)] = False,
    json: Annotated[bool, Parameter(group=MAIN)] = False,
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
    return _do("status", results, options.state_dir, follow=follow, json=json)


def control(
    results: Results,
    *,
    rate: Annotated[int | None, number(MAIN)] = None,
    per_address_rate: Annotated[int | None, number(MAIN)] = None,
    pause: Annotated[bool, Parameter(group=MAIN)] = False,
    continue_: Annotated[bool, Parameter(name="--continue", group=MAIN)] = False,
    stop: Annotated[bool, Parameter(group=MAIN)] = False,
    limits_raised: Annotated[bool, Parameter(group=MAIN)] = False,
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
    return _do("control", results, options.state_dir, requests, (rate, per_address_rate), limits_raised=limits_raised)


def runs(
    directory: Annotated[Path, Parameter(group=MAIN)] = Path(),
    *,
    json: Annotated[bool, Parameter(group=MAIN)] = False,
    state_dir: Annotated[Path | None, Parameter(group=MAIN, metavar="DIRECTORY")] = None,
) -> int:
    """List the runs in a directory.

    bulkcert runs
    bulkcert runs nightly --json

    Args:
        directory: Where results are; by default this directory.
        json: Print one JSON object a line.
        state_dir: Where the folders of runs are that were started with --state-dir; in place of the directory.
    """
    return _do("runs", directory, state_dir, json=json)


def report(
    results: OfStore,
    *,
    output: Output = None,
    format: Annotated[Format | None, Parameter(group=MAIN)] = None,  # noqa: A002 - as it is typed
    options: ReportOptions = ReportOptions(),
) -> int:
    """Report a run in one page, as HTML, text, Markdown or JSON.

    bulkcert report devices.inactivate-device.results.csv
    bulkcert report r.csv --title "Leak of 12 May" --timezone Asia/Shanghai

    It needs no credentials, calls nothing, and disturbs no session that runs.

    Args:
        results: The results of the run, which need not be there. With --job those of the job.
        output: The file; its name says the format. Default: RESULTS.report.html; for other formats standard output.
        format: html, the default, is one page; text and md are for mail and tickets, json for programs.
    """
    return _do("report", results, output, format, options)


def export(
    results: OfStore,
    *,
    output: Output = None,
    outcome: Annotated[
        tuple[Outcome, ...],
        Parameter(
            name_transform=str.lower,  # an outcome is shown as it is typed
            group=MAIN,
            converter=names_of(Outcome),
            consume_multiple=False,
            metavar="OUTCOME,…",
        ),
    ] = (),
    code: Annotated[tuple[str, ...], Parameter(group=MAIN, consume_multiple=False, metavar="CODE")] = (),
    ca_sn: Annotated[tuple[str, ...], Parameter(group=MAIN, consume_multiple=False, metavar="SERIAL")] = (),
    overwrite: Annotated[bool, Parameter(group=MAIN)] = False,
    options: StateOptions = StateOptions(),
) -> int:
    """Write results again, all rows or some, in any format.

    bulkcert export devices.inactivate-device.results.csv -o all.parquet
    bulkcert export devices.inactivate-device.results.csv --outcome failed -o f.csv

    What it writes is valid as an input for run. It makes no calls, and a session may be running.

    Args:
        results: The results of the run. With --job those of the job.
        output: The file: .csv, .csv.gz, .csv.zst, .parquet or .ndjson. Without it the results themselves are written
            again.
        outcome: Only rows with one of these outcomes.
        code: Only rows with this code; may be given more than once.
        ca_sn: Only rows under this CA; may be given more than once.
        overwrite: Replace a file that is there.
    """
    return _do("export", results, options.state_dir, output, (outcome, code, ca_sn), overwrite=overwrite)


def help_(topic: Annotated[str, Parameter(group=MAIN)] = "") -> int:
    """Show the help of a command, or a topic.

    bulkcert help run
    bulkcert help exit-statuses

    Args:
        topic: A topic, or a command. Without it, which there are.
    """
    from bulkcert.commands import help as body

    return body.help_(topic, COMMANDS)


_RUN = (
    "0 done · 1 some rows are not · 2 options · 3 errors · 65 list\n"
    "66 input · 69 service · 73 disk · 75 stopped early · 77 access · 78 setup"
)
_READ = "0 done · 2 options · 69 service · 73 disk · 77 access · 78 setup"
_LOCAL = "0 done · 2 options · 66 no such run · 73 disk"


COMMANDS: dict[str, tuple[Callable[..., int], str]] = {
    "inventory": (inventory, _READ),
    "plan": (plan, "0 it can start · otherwise what the run would end with"),
    "doctor": (doctor, "0 a run could start · otherwise what it would end with"),
    "policy": (policy, "0 done · 2 options · 73 disk · 78 setup"),
    "rehearse": (rehearse, _RUN),
    "emulator": (emulator, "0 stopped · 2 options · 66 no list · 69 no port · 73 disk"),
    "cluster": (cluster, "0 done · 2 options · 73 disk"),
    "lane": (lane, "0 stopped, its calls reported · 2 options · 66 keys · 77 access"),
    "run": (run, _RUN),
    "resume": (resume, _RUN),
    "undo": (undo, _RUN),
    "verify": (verify, _RUN),
    "status": (status, "0 running or done · 66 no such run · 75 interrupted · otherwise that of the run"),
    "control": (control, "0 done · 2 options · 66 no such run, or ended · 75 not running, or late"),
    "runs": (runs, _LOCAL),
    "report": (report, _LOCAL),
    "export": (export, _LOCAL),
    "help": (help_, "0 done · 2 no such topic"),
}
"""Commands: what takes their options, whose docstring is the help, and what they end with."""

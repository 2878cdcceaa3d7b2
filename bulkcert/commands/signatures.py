"""What the commands take that prepare a run."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from bulkcert.commands import do
from bulkcert.emulator.settings import Settings
from bulkcert.runs.converters import whole_number
from bulkcert.runs.options import Inputs, Options, PlanOptions
from bulkcert.runs.other_options import DoctorOptions, InventoryOptions, LaneOptions, PolicyOptions, Stage
from bulkcert.service.actions import ActionName


def inventory(*, options: InventoryOptions = InventoryOptions()) -> int:
    """List registered certificates into a file, as an input.

    bulkcert inventory -o devices.csv --instance ID --region REGION
    bulkcert inventory --cas -o cas.csv --instance ID --region REGION
    """
    return do("inventory", options)


def plan(action: ActionName, input_: Inputs, options: PlanOptions = PlanOptions()) -> int:
    """Find out what a run would do and cost; change nothing.

    bulkcert plan inactivate-device devices.csv --instance ID --region REGION
    bulkcert plan --job where.toml -o devices.plan.json

    Args:
        action: What would be done with each row.
        input_: The list, as for run.
    """
    return do("plan", action, input_, options)


def doctor(*, options: DoctorOptions = DoctorOptions()) -> int:
    """Check what a run needs: credentials, service, clock, disk.

    bulkcert doctor --instance ID --region REGION
    bulkcert doctor --job where.toml --json

    It reads at most ten certificates, and changes nothing. Without an instance
    it checks this machine alone.
    """
    return do("doctor", options)


def policy(action: ActionName, *, options: PolicyOptions = PolicyOptions()) -> int:
    """Print the minimal RAM policy for what a run calls.

    bulkcert policy inactivate-device
    bulkcert policy inactivate-ca --undo --instance ID

    What is called mq:Unregister… there is the permission to inactivate; it deletes nothing.
    Each lane on another machine needs the same.

    Args:
        action: What the run will do with each row.
    """
    return do("policy", action, options)


def rehearse(action: ActionName, input_: Inputs, options: Options = Options(), stage: Stage = Stage()) -> int:
    """Do the same against a local emulator: no account needed.

    bulkcert rehearse inactivate-device devices.csv
    bulkcert rehearse inactivate-device devices.csv --faults --and-then verify

    Args:
        action: What to do with each row.
        input_: The list, as for run.
    """
    return do("rehearse", action, input_, options, stage)


def emulator(*, settings: Settings = Settings()) -> int:
    """Serve a local emulator of the service until stopped.

    bulkcert emulator
    bulkcert emulator --port 0 --seed-from devices.csv

    It listens on loopback and accepts the key testAccessKeyId with the secret testAccessKeySecret.
    """
    return do("emulator", settings)


def cluster(
    what: Literal["keys"],
    directory: Path,
    *,
    lanes: Annotated[int, Parameter(converter=whole_number, metavar="N")] = 1,
    days: Annotated[int, Parameter(converter=whole_number, metavar="N")] = 30,
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
    return do("cluster", what, directory, lanes=lanes, days=days)


def lane(where: str, *, options: LaneOptions = LaneOptions()) -> int:
    """Call for runs on another machine, until stopped.

    bulkcert lane tls://10.0.0.5:8786 --keys keys
    bulkcert lane tls://10.0.0.5:8786 --keys keys --source-address 10.0.0.7

    It signs with this machine's own credentials; see bulkcert help cluster.

    Args:
        where: Where the coordinator listens: the URL that its --cluster has.
    """
    return do("lane", where, options)

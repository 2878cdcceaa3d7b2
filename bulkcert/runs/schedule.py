"""What a job that nobody watches is held to: how many rows, until when, and how long its files are kept."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

from cyclopts import Parameter, Token

from bulkcert.runs.options import SCHEDULE, TooLongError, seconds, short, whole_number

MOST_DAYS = 36_525
"""Days that files may be kept, a hundred years."""


def moment(kind: object, tokens: Sequence[Token]) -> float:
    """Reads when a run must end: a length of time from now, or the nearest such time of day on this machine's clock.

    The nearest, not the next: a job that is started late, or again, just after its deadline must not run until that
    of the next day.

    Returns:
        Unix time in seconds; that of a time of day may be over.

    Raises:
        ValueError: It is neither.
    """
    text = tokens[0].value.strip()
    if not (matched := re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", text)):
        try:
            return time.time() + seconds(kind, tokens)
        except TooLongError:
            raise
        except ValueError:
            message = f"{short(text)!r} is neither a length of time such as 4h nor a time of day such as 06:00"
            raise ValueError(message) from None
    now = datetime.now()  # noqa: DTZ005 - a time of day is one of this machine's own
    today = now.replace(hour=int(matched[1]), minute=int(matched[2]), second=0, microsecond=0)
    days = [today + timedelta(days=day) for day in (-1, 0, 1)]
    return min(days, key=lambda then: abs(then - now)).timestamp()


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class SizeOptions:
    """Options that say how long a list may be."""

    min_rows: Annotated[int | None, Parameter(group=SCHEDULE, converter=whole_number)] = None
    """Refuse a list of fewer rows (65); without it an empty list exits with 0."""
    max_rows: Annotated[int | None, Parameter(group=SCHEDULE, converter=whole_number)] = None
    """Refuse a list of more rows (65)."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ScheduleOptions(SizeOptions):
    """Options of a job that a timer starts."""

    deadline: Annotated[float | None, Parameter(group=SCHEDULE, converter=moment, metavar="TIME")] = None
    """Send nothing after this, and end with 75: a length of time such as 4h, or a time of day such as 06:00, the
    nearest one: 23:00 typed in the morning is over."""
    retain_days: Annotated[int | None, Parameter(group=SCHEDULE, converter=whole_number)] = None
    """Days to keep the files of this job's earlier runs, whose results have a date in their name; removed after a run
    that finished."""


def check_schedule(options: ScheduleOptions, name: str, problems: list[str]) -> None:
    """Adds what is wrong with the options to the problems.

    Args:
        options: As typed.
        name: Of the results file.
        problems: Added to.
    """
    check_size_options(options, problems)
    if options.retain_days is None:
        return
    if not 1 <= options.retain_days <= MOST_DAYS:
        problems.append(f"--retain-days must be from 1 to {MOST_DAYS:,} days, not {options.retain_days}")
    if not DATE.search(name):
        message = f"--retain-days goes by the date in the names of results, and {name} has none"
        problems.append(f"{message}: put {{date}} into the results of the job file")


def check_size_options(options: SizeOptions, problems: list[str]) -> None:
    """Adds what is wrong with the options to the problems."""
    least, most = options.min_rows, options.max_rows
    for option, value in (("--min-rows", least), ("--max-rows", most)):
        if value is not None and value < 0:
            problems.append(f"{option} must be at least 0, not {value}")
    if least is not None and most is not None and least > most:
        problems.append(f"--min-rows {least} is more than --max-rows {most}")


def wrong_size(options: SizeOptions, name: str, rows: int) -> str:
    """Returns why a list is too short or too long, in words; empty if it is neither.

    Args:
        options: As typed.
        name: Of the list.
        rows: That it has.
    """
    least, most = options.min_rows, options.max_rows
    has = f"{name} has {rows:,} row{'s' * (rows != 1)}"
    if least is not None and rows < least:
        return f"{has}, and at least {least:,} are expected (--min-rows)"
    if most is not None and rows > most:
        return f"{has}, and at most {most:,} are allowed (--max-rows)"
    return ""


WRONG_SIZE = "See whether the export went wrong; if it did not, change the number."
"""What to do about a list of a length that was not expected."""

DATE = re.compile(r"(?<!\d)\d{4}-\d{2}-\d{2}(?!\d)")
"""A date as ``{date}`` writes it."""

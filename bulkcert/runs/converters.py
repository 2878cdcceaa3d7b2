"""How values of options are read (numbers, lengths of time, moments, names), and options of one command for another."""

import re
import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any, TypeVar

from cyclopts import Token

LARGEST_NUMBER = 10**12
"""What no option comes near; larger numbers are beyond what can be reckoned with."""

LONGEST_S = 100 * 365.25 * 86400
"""The longest length of time, in seconds: what is later may be no date."""

SHOWN = 40
"""Characters of a wrong value that are repeated."""

_LENGTH = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*")

Problems = list[str]
"""What is wrong with options: what resolves some adds to it, is of no use then, and all is refused at once."""

Choice = TypeVar("Choice", bound=str)
Taken = TypeVar("Taken")


def short(text: str) -> str:
    """Returns a wrong value as it is repeated."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def whole_number(_type: object, tokens: Sequence[Token]) -> int:
    """Reads a whole number; the library would round, and a cap must not be rounded up."""
    text = tokens[0].value
    try:
        number = int(text)
    except ValueError:
        raise ValueError(f"{short(text)!r} is not a whole number") from None
    if abs(number) > LARGEST_NUMBER:
        raise ValueError(f"{short(text)!r} is more than {LARGEST_NUMBER:,}")
    return number


def seconds(_type: object, tokens: Sequence[Token]) -> float:
    """Reads a length of time: ``90``, ``90s``, ``10m``, ``2h``, ``1d``."""
    text = tokens[0].value
    if not (matched := _LENGTH.fullmatch(text)):
        raise ValueError(f"{short(text)!r} is not a length of time such as 90s, 10m, 2h or 1d")
    length = float(matched[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[matched[2]]
    if length > LONGEST_S:
        raise ValueError(f"{short(text)!r} is more than a hundred years")
    return length


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
        if not _LENGTH.fullmatch(text):
            raise ValueError(f"{short(text)!r} is neither a length of time such as 4h nor a time of day such as 06:00")
        return time.time() + seconds(kind, tokens)
    now = datetime.now()  # noqa: DTZ005 - a time of day is one of this machine's own
    today = now.replace(hour=int(matched[1]), minute=int(matched[2]), second=0, microsecond=0)
    days = [today + timedelta(days=day) for day in (-1, 0, 1)]
    return min(days, key=lambda then: abs(then - now)).timestamp()


def names_of(choices: Iterable[Choice]) -> Callable[[object, Sequence[Token]], tuple[Choice, ...]]:
    """Returns what reads names with commas between them; one that is none of the choices is a ValueError."""
    there = {str(choice): choice for choice in choices}

    def read(_type: object, tokens: Sequence[Token]) -> tuple[Choice, ...]:
        names = [name.strip() for token in tokens for name in token.value.split(",") if name.strip()]
        if wrong := next((name for name in names if name not in there), None):
            raise ValueError(f"{wrong!r} is not valid; choose from {', '.join(there)}")
        return tuple(dict.fromkeys(there[name] for name in names))

    return read


def carried(kind: Callable[..., Taken], options: object, **own: object) -> Taken:
    """Returns options of a class, as they were typed for another: what the class has not is left out, ``own`` wins."""
    both = kind.__dataclass_fields__.keys() & options.__dataclass_fields__.keys()  # type: ignore[attr-defined]
    return kind(**{name: getattr(options, name) for name in both} | own)


def changed(kind: type, given: Mapping[str, Any], *, without: Container[str]) -> dict[str, Any]:
    """Returns options of a class that were not left at their defaults, by the names that they have in job files.

    ``given`` are options as JSON has them; what the class has not, and the fields ``without``, is left out.
    """
    found = {}
    for each in fields(kind):
        default = list(each.default) if isinstance(each.default, tuple) else each.default
        value = given.get(each.name, default)
        if value not in (default, None) and each.name not in without:
            found[each.name.replace("_", "-")] = value
    return found

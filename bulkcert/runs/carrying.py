"""Options of one command for another, and those that were given, for a job file."""

from collections.abc import Callable, Container, Mapping
from dataclasses import fields
from typing import Any, TypeVar

Kind = TypeVar("Kind")


def carried(kind: Callable[..., Kind], options: object, **own: object) -> Kind:
    """Returns options of one command, as they were typed for another.

    Args:
        kind: The class of the options that are wanted.
        options: As typed; what the class has not is left out.
        own: What is given in their place, or beside them.
    """
    both = kind.__dataclass_fields__.keys() & options.__dataclass_fields__.keys()  # type: ignore[attr-defined]
    return kind(**{name: getattr(options, name) for name in both} | own)


def changed(kind: type, given: Mapping[str, Any], *, without: Container[str]) -> dict[str, Any]:
    """Returns options that were not left at their defaults, by the names that they have in job files.

    Args:
        kind: The class of the options that are wanted.
        given: The options, as JSON has them; what the class has not is left out.
        without: Names of fields that are not wanted.
    """
    found = {}
    for each in fields(kind):
        default = list(each.default) if isinstance(each.default, tuple) else each.default
        value = given.get(each.name, default)
        if value not in (default, None) and each.name not in without:
            found[each.name.replace("_", "-")] = value
    return found

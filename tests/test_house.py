"""The house: imports point down, only commands and views print, only the store writes SQL, only service knows HTTP."""

import ast
import re
from pathlib import Path

import pytest

import bulkcert

ROOT = Path(bulkcert.__file__).parent
FLOORS = (
    {"errors", "log", "words"},
    {"service"},
    {"store"},
    {"input"},
    {"engine", "emulator"},
    {"output"},
    {"runs", "job_file"},
    {"telemetry"},
    {"views"},
    {"report"},
    {"commands"},
    {"cli"},
    {"__main__", "__init__"},
)
"""Rooms of the package, the lowest first; a room imports from lower floors and from itself."""
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
MODULES = sorted(ROOT.rglob("*.py"))


def room_of(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(tree):
    """Yields the rooms that a module imports from."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "bulkcert":
            yield from (alias.name for alias in node.names if alias.name != "__version__")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bulkcert."):
            yield node.module.split(".")[1]


def test_imports_point_down():
    """A room knows itself and what is below it, so that each can be read, and changed, without those above."""
    upward = [
        f"{path.relative_to(ROOT)} imports {other}"
        for path in MODULES
        for other in imported(ast.parse(path.read_text()))
        if other != (own := room_of(path)) and FLOOR[other] >= FLOOR[own] and own not in FLOORS[0]
    ]

    assert not upward


@pytest.mark.parametrize(
    ("what", "pattern", "rooms"),
    [
        (
            "prints",
            r"(?<![\w.])print\(|\.print\(|sys\.stdout",
            {"commands", "views", "cli", "__main__", "emulator", "input"},
        ),
        ("has SQL", r"\b(SELECT|INSERT INTO|UPDATE|DELETE FROM) ", {"store", "emulator"}),
        ("knows HTTP", r"^\s*(import|from) (httpx|httptools)\b", {"service", "emulator", "engine", "runs"}),
    ],
)
def test_each_thing_has_its_room(what, pattern, rooms):
    """Whoever looks for a thing looks in one place."""
    strangers = [
        str(path.relative_to(ROOT))
        for path in MODULES
        if room_of(path) not in rooms and re.search(pattern, path.read_text(), re.MULTILINE)
    ]

    assert not strangers, f"{what} where it should not"


def test_class_names_are_unique():
    """A type is named once in the whole tree, so that its name is enough to find it."""
    names = {}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                names.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    twice = {name: places for name, places in names.items() if len(places) > 1}

    assert not twice

"""The house: imports point down, and each thing has its room."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

import bulkcert

ROOT = Path(bulkcert.__file__).parent
FLOORS = (
    "errors formats log words | service | store | input | engine emulator | output | fleet | runs job_file | telemetry"
)
FLOORS = [
    set(rooms.split()) for rooms in f"{FLOORS} | views | report api | commands | cli | man __main__ __init__".split("|")
]
"""Rooms of the package, the lowest first; a room imports from lower floors and from itself."""
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
MODULES = {path.relative_to(ROOT): ast.parse(path.read_text()) for path in sorted(ROOT.rglob("*.py"))}


def test_nothing_else_is_at_the_top():
    """A clone has these and dot files: what a command has left behind there is not committed."""
    if (top := ROOT.parent).joinpath("pyproject.toml").exists():
        assert {path.name for path in top.iterdir() if not path.name.startswith((".", "__"))} == {
            *("README.md", "bulkcert", "jobs", "pyproject.toml", "tests")
        }


def room_of(path):
    return path.parts[0].removesuffix(".py")


def test_imports_point_down():
    """A room knows itself and what is below it, so that each can be read, and changed, without those above."""
    imports = [(path, node) for path, tree in MODULES.items() for node in ast.walk(tree) if is_own(node)]
    named = [(path, name) for path, node in imports for name in imported(node)]

    assert not [
        f"{path} imports {name}"
        for path, name in named
        if name != (own := room_of(path)) and FLOOR[name] >= FLOOR[own] and own not in FLOORS[0]
    ]


def is_own(node):
    return isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "bulkcert"


def imported(node):
    names = [name.name for name in node.names if name.name != "__version__"]
    return names if node.module == "bulkcert" else [node.module.split(".")[1]]


@pytest.mark.parametrize(
    ("pattern", "rooms"),
    [
        # A child process of input answers its parent there.
        (r"(?<![\w.])print\(|\.print\(|sys\.stdout", "views commands cli __main__ parquet_child"),
        (r"\b(SELECT|INSERT INTO|UPDATE|DELETE FROM) ", "store emulator"),
        # Whoever knows where the service is has an address, no more.
        (r"\bhttpx\.(?!URL\b|InvalidURL\b)\w|\bhttptools\b", "service emulator"),
    ],
    ids=["prints", "has SQL", "knows HTTP"],
)
def test_each_thing_has_its_room(pattern, rooms):
    """Whoever looks for a thing looks in one place."""
    strangers = [path for path in MODULES if re.search(pattern, (ROOT / path).read_text())]

    assert not [str(path) for path in strangers if not {room_of(path), path.stem} & set(rooms.split())]


def test_class_names_are_unique():
    """A type is named once in the whole tree, so that its name is enough to find it."""
    nodes = [node for tree in MODULES.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    names = Counter(node.name for node in nodes if not node.name.startswith("_"))

    assert not [name for name, count in names.items() if count > 1]

"""People and code use the field's words; the private ones of the first version do not come back."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PHRASES = (
    r"look(s|ing|ed)? first",
    r"a look\b",
    r"as wanted|wanted state",
    r"take[ns]? (it )?back|taken back",
    r"(go|goes|gone|going|went) on\b",
    r"cut off",
    r"not come to",
    r"one word too many",
    r"nothing (was|is|will be) called",
    r"to tell others|to prove it|proves it",
    r"told|tells",
    r"anew",
    r"worst (one-second )?(window|second)",
    r"settled by earlier|by earlier sessions",
    r"least RAM",
    r"double of the service",
    r"passed over",
    r"left alone|left as they (were|are)",
    r"is none of \{",
    r"wants a word",
    r"to the letter",
    r"done at once, and well",
    r"off to the side",
    r"how (a run|the run|it|each) stands",
    r"keyring",
)
PHRASE = re.compile("|".join(rf"\b(?:{phrase})" for phrase in PHRASES), re.IGNORECASE)
NAMES = re.compile(
    r"(^|_)(told|tell|tells|standing|beside|holding|taken_back|anew|keyring|judgement|judge|admit|sweeping|feeding|"
    r"snapshot|look|looked|look_first|manager|helper|util|utils)(_|$)"
)
"""Parts of names that say nothing to a newcomer."""
MODULES = sorted((ROOT / "bulkcert").rglob("*.py"))
TEXTS = [
    ROOT / "README.md",
    *sorted((ROOT / "bulkcert" / "docs").glob("*.md")),
    *sorted((ROOT / "bulkcert").rglob("*.j2")),
    *(path for path in sorted((ROOT / "jobs").iterdir()) if path.suffix not in {".csv", ".parquet"} and path.is_file()),
]


def strings(path):
    """Yields the texts of a module, f-strings in pieces, with their lines; docstrings are among them."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, " ".join(node.value.split())


def names(path):
    """Yields what a module names: itself, classes, functions, arguments and variables."""
    yield 0, path.stem
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, re.sub(r"(?<=[a-z])(?=[A-Z])", "_", node.name).lower()
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id.lower()


@pytest.mark.parametrize("path", [*MODULES, *TEXTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_phrases(path):
    """What people read, and the docstrings, have none of the private phrases."""
    if path.suffix == ".py":
        found = list(strings(path))
    else:
        found = list(enumerate(path.read_text(encoding="utf-8").splitlines(), 1))

    assert not [f"{path}:{line}: {text}" for line, text in found if PHRASE.search(text)]


def test_names():
    """No name is made of the private words."""
    found = {(path, line, name) for path in MODULES for line, name in names(path)}

    assert not [f"{path}:{line}: {name}" for path, line, name in sorted(found) if NAMES.search(name)]

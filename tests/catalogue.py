"""The catalogue of translations: ``python tests/catalogue.py`` takes texts from the code and compiles what is there."""

import ast
import io
from datetime import UTC, datetime
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from jinja2.ext import babel_extract

import bulkcert
from bulkcert.store.outcome import Outcome
from bulkcert.words import CATALOGUE

ROOT = Path(bulkcert.__file__).parent
PO = CATALOGUE / "zh" / "LC_MESSAGES" / "bulkcert.po"
UNWANTED = tuple(f'"{name}' for name in ("POT", "PO-", "Generated", "Report", "Last", "Language-Team", "Project"))
TAKES = {"tr": slice(0, 1), "trn": slice(0, 2), "later": slice(0, 1), "counted": slice(1, 2)}
"""What looks texts up, and which of its arguments they are."""


def texts():
    """Returns every text of the code that is looked up in a catalogue, names of outcomes among them, in order."""
    found = {outcome.replace("_", " ") for outcome in Outcome}
    for path in sorted(ROOT.rglob("*.py")):
        module = ast.parse(path.read_text(encoding="utf-8"))
        # A module that translates nothing may count what it likes.
        imported = {node.name for node in ast.walk(module) if isinstance(node, ast.alias)}
        if path.stem == "words" or {"tr", "trn", "later"} & imported:
            found.update(texts_of(module))
    for path in sorted(ROOT.rglob("*.j2")):
        for _, _, text, _ in babel_extract(io.BytesIO(path.read_bytes()), ["tr"], [], {}):
            found.add(text)
    return sorted(found)


def texts_of(tree):
    """Yields the texts of a module: also those in f-strings, which extractors do not see before Python 3.12."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in TAKES:
            for argument in node.args[TAKES[node.func.id]]:
                either = [argument.body, argument.orelse] if isinstance(argument, ast.IfExp) else [argument]
                yield from (each.value for each in either if isinstance(each, ast.Constant) and each.value)


def catalogue():
    """Returns the Chinese catalogue as it is."""
    return read_po(io.BytesIO(PO.read_bytes())) if PO.exists() else Catalog(locale="zh", project="bulkcert")


def updated(catalogue):
    """Returns it with all texts of the code and no others; what is new has no translation."""
    new = Catalog(locale="zh", project="bulkcert", fuzzy=False)
    new.header_comment = "# Chinese texts of bulkcert. python tests/catalogue.py takes new ones from the code."
    for text in texts():
        known = catalogue.get(text)
        new.add(text, known.string if known else "")
    return new


def po_of(catalogue):
    """Returns the file that people edit; without dates and names, which would change it for nothing."""
    file = io.BytesIO()
    write_po(file, catalogue, width=110)
    lines = file.getvalue().decode().splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith(UNWANTED)).encode()


def mo_of(catalogue):
    """Returns the file that the program reads."""
    catalogue.creation_date = catalogue.revision_date = datetime(2026, 1, 1, tzinfo=UTC)
    file = io.BytesIO()
    write_mo(file, catalogue)
    return file.getvalue()


if __name__ == "__main__":
    PO.parent.mkdir(parents=True, exist_ok=True)
    PO.write_bytes(po_of(updated(catalogue())))
    PO.with_suffix(".mo").write_bytes(mo_of(read_po(io.BytesIO(PO.read_bytes()))))

"""The man page, made from the help while a wheel is built: what is typed and what is read are one text."""

import io

from rich.console import Console

from bulkcert import __version__
from bulkcert.cli import app
from bulkcert.commands import COMMANDS, OVERVIEW
from bulkcert.commands.help import topics

WIDTH = 80
"""Columns of the help in the page, as on a terminal."""


def man_page() -> str:
    """Returns the man page of ``bulkcert``, in section 1, as troff."""
    summary, _, overview = OVERVIEW.partition("\n")
    sections = {"SYNOPSIS": overview} | {f"bulkcert {name}": _help_of(name) for name in COMMANDS}
    sections["SEE ALSO"] = "bulkcert help TOPIC, where TOPIC is one of:\n\n" + "".join(
        f"    {topic}\n" for topic in topics()
    )
    head = f'.TH BULKCERT 1 "" "bulkcert {__version__}"\n.SH NAME\nbulkcert \\- {_escaped(summary)}\n'
    return head + "".join(
        f".SH {_escaped(title)}\n.in 0\n.nf\n{_verbatim(text)}.fi\n" for title, text in sections.items()
    )


def _help_of(command: str) -> str:
    console = Console(file=io.StringIO(), width=WIDTH, color_system=None, force_terminal=False)
    app.meta.help_print([command], console=console)
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def _verbatim(text: str) -> str:
    return "".join(f"{_escaped(line.rstrip())}\n" for line in text.strip("\n").splitlines())


def _escaped(line: str) -> str:
    """Returns a line that troff prints as it is: hyphens as they are typed, and nothing taken for a request."""
    line = line.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{line}" if line.startswith((".", "'")) else line

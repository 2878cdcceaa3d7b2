"""``bulkcert help``: a topic of the documentation."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from bulkcert.commands import COMMANDS
from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.runs.options import MAIN
from bulkcert.views import console as terminal
from bulkcert.words import nearest

DOCS = Path(__file__).parent.parent / "docs"


def topics() -> list[str]:
    """Returns the topics of the documentation."""
    return sorted(path.stem for path in DOCS.glob("*.md"))


def help_(topic: Annotated[str, Parameter(group=MAIN)] = "") -> int:
    """Show the help of a command, or a topic.

    bulkcert help run
    bulkcert help exit-statuses

    Args:
        topic: A topic, or a command. Without it, which there are.

    Raises:
        BulkcertError: There is no such topic.
    """
    if not topic:
        for name, listed in (("topics:", topics()), ("commands:", COMMANDS)):
            terminal.say(f"{name:<10}{', '.join(listed)}", terminal.stdout, indent=10)
    elif topic not in topics():
        near = nearest(topic, [*topics(), *COMMANDS])
        advice = f"Did you mean bulkcert help {near[0]}?" if near else "bulkcert help lists the topics."
        raise BulkcertError(ExitStatus.USAGE, f"there is no topic {topic!r}", advice)
    else:
        options = f"\nIts options: `bulkcert {topic} --help`\n" if topic in COMMANDS else ""
        _show(f"{(DOCS / topic).with_suffix('.md').read_text(encoding='utf-8')}{options}")
    return ExitStatus.OK


def _show(text: str) -> None:
    """Renders Markdown on a terminal; elsewhere it stays as it is."""
    if not terminal.stdout.is_terminal:
        sys.stdout.write(text)
        return
    from rich.markdown import Markdown  # noqa: PLC0415 - for a terminal alone

    terminal.stdout.print(Markdown(text), soft_wrap=False)

"""``bulkcert help``: the help of a command, or a topic of the documentation."""

import difflib
import sys
from collections.abc import Sequence
from importlib.resources import files

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.views import console as terminal


def help_(topic: str, commands: Sequence[str]) -> ExitStatus:
    """Shows a topic of the documentation, or which topics and commands there are.

    Args:
        topic: A topic; empty for a list of them.
        commands: Names of the commands.

    Raises:
        BulkcertError: There is no such topic.
    """
    folder = files("bulkcert") / "docs"
    found = sorted(each.name for each in folder.iterdir()) if folder.is_dir() else []
    topics = [name.removesuffix(".md") for name in found if name.endswith(".md")]
    if not topic:
        sys.stdout.write(f"topics:   {', '.join(topics)}\ncommands: {', '.join(commands)}\n")
    elif topic not in topics:
        near = difflib.get_close_matches(topic, [*topics, *commands], n=1)
        advice = f"Did you mean bulkcert help {near[0]}?" if near else "bulkcert help lists the topics."
        raise BulkcertError(ExitStatus.USAGE, f"there is no topic {topic!r}", advice)
    else:
        _show((folder / f"{topic}.md").read_text(encoding="utf-8"))
    return ExitStatus.OK


def _show(text: str) -> None:
    """Renders Markdown on a terminal, in a pager where it is long; elsewhere it stays as it is."""
    if not terminal.stdout.is_terminal:
        sys.stdout.write(text)
        return
    from rich.markdown import Markdown  # noqa: PLC0415 - for a terminal alone

    if text.count("\n") < terminal.stdout.height:
        terminal.stdout.print(Markdown(text))
        return
    with terminal.stdout.pager(styles=True):
        terminal.stdout.print(Markdown(text))

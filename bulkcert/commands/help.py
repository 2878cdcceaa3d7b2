"""``bulkcert help``: a topic of the documentation."""

import difflib
import sys
from collections.abc import Collection
from pathlib import Path

from bulkcert.errors import BulkcertError, ExitStatus
from bulkcert.views import console as terminal

DOCS = Path(__file__).parent.parent / "docs"


def topics() -> list[str]:
    """Returns the topics of the documentation."""
    return sorted(path.stem for path in DOCS.glob("*.md"))


def help_(topic: str, commands: Collection[str]) -> ExitStatus:
    """Shows a topic, or which topics and commands there are; of a command's it says where its options are.

    Raises:
        BulkcertError: There is no such topic.
    """
    if not topic:
        for name, listed in (("topics:", topics()), ("commands:", commands)):
            terminal.say(f"{name:<10}{', '.join(listed)}", terminal.stdout, indent=10)
    elif topic not in topics():
        near = difflib.get_close_matches(topic, [*topics(), *commands], n=1)
        advice = f"Did you mean bulkcert help {near[0]}?" if near else "bulkcert help lists the topics."
        raise BulkcertError(ExitStatus.USAGE, f"there is no topic {topic!r}", advice)
    else:
        options = f"\nIts options: `bulkcert {topic} --help`\n" if topic in commands else ""
        _show(f"{(DOCS / topic).with_suffix('.md').read_text(encoding='utf-8')}{options}")
    return ExitStatus.OK


def _show(text: str) -> None:
    """Renders Markdown on a terminal; elsewhere it stays as it is."""
    if not terminal.stdout.is_terminal:
        sys.stdout.write(text)
        return
    from rich.markdown import Markdown  # noqa: PLC0415 - for a terminal alone

    terminal.stdout.print(Markdown(text), soft_wrap=False)

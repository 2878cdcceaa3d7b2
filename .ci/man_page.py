"""Makes the man page while a wheel is built, so that it is always that of the help."""

import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ManPage(BuildHookInterface):
    """Adds the page to what is installed outside the package: pip and pipx put it where ``man`` looks."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's
        """Makes it before the files are packed."""
        sys.path.insert(0, self.root)
        from bulkcert.man import man_page  # noqa: PLC0415 - found there from now on

        page = Path(tempfile.mkdtemp(prefix="bulkcert-man-"), "bulkcert.1")
        page.write_text(man_page(), encoding="utf-8")
        build_data["shared_data"][str(page)] = "share/man/man1/bulkcert.1"

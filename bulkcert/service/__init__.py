"""The service: its operations, codes and signature as values, and one edge that makes calls."""

import sys

# httpx would load its own command as well, and click, Pygments and most of Rich with it: 0.1 s of CPU for nothing.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]

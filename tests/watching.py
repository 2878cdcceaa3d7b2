"""``verify --watch`` in this process, until a test has seen what it waits for, however slow the machine is."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from unittest.mock import patch

from program import UNHURRIED, here

from bulkcert.runs import verify

DAY_S = 86_400


def watch(results, until, *, cwd="."):
    """Watches a run; the last look is the one after ``until`` returns, which is called in a thread of its own."""
    over = threading.Event()
    clock = SimpleNamespace(time=time.time, monotonic=lambda: time.monotonic() + DAY_S * over.is_set())

    def wait():
        try:
            until()
        finally:
            over.set()

    with patch.object(verify, "time", clock), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait)
        options = ("--watch", "1h", "--every", "1s", "--yes", *UNHURRIED)
        watched = here("verify", results, *options, cwd=cwd)
        waiting.result()
    return watched

"""What a process of a test does beyond the command (see ``forked.become``): it takes its time over results.

So it can be stopped in the middle of few rows as surely as in the middle of very many.
"""

import time

from bulkcert.output import results

_annotated = results.annotated


def slowly(pinned, **window):
    """Yields the batches of a list, and half a second later their end."""
    yield from _annotated(pinned, **window)
    time.sleep(0.5)


results.annotated = slowly

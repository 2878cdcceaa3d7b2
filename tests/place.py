"""A run slow enough to be looked at, and how it stands."""

import json
import signal
from contextlib import contextmanager, suppress

import msgspec
from program import INSTANCE, PATIENCE_S, start, wait_for, write_devices

from bulkcert.batch.standing import State, standing_of
from bulkcert.errors import BulkcertError
from bulkcert.status_view import told

FAST = 100_000
"""Calls per second of a run that nobody looks at."""


class Place:
    """A list of devices, and the run over it, slow enough to be looked at: two minutes, unless it is ended."""

    def __init__(self, directory, service, rows=5000):
        self.directory, self.service = directory, service
        self.list, self.results = directory / "devices.csv", directory / "results.csv"
        self.devices = write_devices(self.list, rows)
        service.tell("faults", shares={})
        service.seed(self.devices)

    def command(self, *more, rate=40):
        where = ("--endpoint", self.service.url, "--instance", INSTANCE, "--yes", "-q")
        pace = ("--rate", rate, "--per-address-rate", FAST)
        return ("run", "inactivate-device", self.list, "-o", self.results, *where, *pace, *more)

    @contextmanager
    def running(self, *more, **options):
        with start(*self.command("--look-first", "never", *more, **options)) as child:
            try:
                yield child
            except AssertionError as error:
                child.kill()
                error.add_note(f"the run said: {child.communicate()[1].decode()}")
                raise
            finally:
                child.kill()
                child.communicate()

    def end(self, child):
        """Ends a run in order."""
        child.send_signal(signal.SIGTERM)
        assert child.wait(PATIENCE_S) == 143

    def until(self, holds):
        """Waits until the run stands as wanted; returns how it stands then."""

        def found():
            with suppress(BulkcertError):
                standing = standing_of(self.results)
                return standing if holds(standing) else None

        return wait_for(None, found)

    def until_it_does(self, holds):
        """Waits until what the session does is as wanted; returns how it stands then."""
        return self.until(lambda now: now.state is State.RUNNING and holds(now.snapshot))

    def calling(self, rows=1):
        return self.until_it_does(lambda now: now.done >= rows)

    def told(self, standing=None):
        """Returns what ``status --json`` prints; this process is another one than the run's."""
        return json.loads(msgspec.json.encode(told(standing or standing_of(self.results))))

    @property
    def files(self):
        found = {}
        for path in self.directory.iterdir():
            with suppress(FileNotFoundError):  # a snapshot is renamed
                found[path.name] = path.stat().st_mtime_ns
        return found

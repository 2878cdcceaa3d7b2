"""A run slow enough to be looked at, and how it stands."""

import json
import time
from contextlib import contextmanager

import msgspec
from program import INSTANCE, start, write_devices

from bulkcert.batch.standing import standing_of
from bulkcert.errors import BulkcertError
from bulkcert.status_view import told

PATIENCE_S = 20


class Place:
    """A list of devices, and the run over it, slow enough to be looked at."""

    def __init__(self, directory, service, rows=100):
        self.directory, self.service = directory, service
        self.list, self.results = directory / "devices.csv", directory / "results.csv"
        self.devices = write_devices(self.list, rows)
        service.tell("faults", shares={})
        service.seed(self.devices)

    def command(self, *more, rate=40):
        where = ("--endpoint", self.service.url, "--instance", INSTANCE, "--yes", "-q", "--rate", rate)
        return ("run", "inactivate-device", self.list, "-o", self.results, *where, *more)

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

    def until(self, holds):
        """Waits until the run stands as wanted; returns how it stands then."""
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                found = standing_of(self.results)
            except BulkcertError:
                found = None
            if found is not None and holds(found):
                return found
            assert time.monotonic() < until, found
            time.sleep(0.02)

    def calling(self, rows=1):
        return self.until(lambda now: now.snapshot is not None and now.snapshot.done >= rows)

    def told(self):
        """Returns what ``status --json`` prints; this process is another one than the run's."""
        return json.loads(msgspec.json.encode(told(standing_of(self.results))))

    @property
    def files(self):
        return {path.name: path.stat().st_mtime_ns for path in self.directory.iterdir()}

"""A list of devices and the run over it; and one slow enough to be looked at, and how it stands."""

import json
import signal
from contextlib import contextmanager, suppress

import msgspec
from program import INSTANCE, PATIENCE_S, UNHURRIED, here, start, wait_for, write_devices

from bulkcert.errors import BulkcertError
from bulkcert.store.paths import RunFiles
from bulkcert.store.status import State, status_of
from bulkcert.views.shown import shown
from bulkcert.views.status import figures_of

OFF = "InactivateDeviceCertificate"
FAST = 100_000
"""Calls per second of a run that nobody looks at."""


class Place:
    """A list of so many active devices in a directory, and the run over it."""

    def __init__(self, directory, service, rows, *, cas=1):
        self.list, self.results, self.service = directory / "devices.csv", directory / "results.csv", service
        self.fill(rows, cas=cas)
        self.started = service.report().arrivals

    def fill(self, rows, *, cas=1):
        """Lists so many devices, which are active."""
        self.devices = write_devices(self.list, rows, cas=cas)
        self.service.seed(self.devices)

    @property
    def arrivals(self):
        return self.service.report().arrivals - self.started

    def command(self, *more, action="inactivate-device", where=None):
        """Returns the run as it is typed; ``where`` is the emulator's, without a preflight, unless it is given."""
        where = self.service.where if where is None else where
        return ("run", action, self.list, "-o", self.results, *where, *more)

    def run(self, *more, stdin=None, **options):
        return here(*self.command(*more, **options), stdin=stdin)


class Inside:
    """Active devices of a test alone, listed in ``d.csv`` of the current directory; the results are ``r.csv``.

    Args:
        service: The emulator.
        name: What the serials of this test begin with.
        count: How many devices.
    """

    def __init__(self, service, name, count=0):
        self.service, self.name, self.devices = service, name, []
        if count:
            self.list(count)

    def list(self, count):
        """Lists so many devices, which are active."""
        self.devices = write_devices("d.csv", count, name=self.name)
        self.service.seed(self.devices)

    def made(self, count, *more):
        """Lists so many devices and switches them off."""
        self.list(count)
        return self.run(*more)

    def run(self, *more, action="inactivate-device", where=None):
        return here("run", action, "d.csv", *(where or self.service.looking), "-o", "r.csv", *more)

    def resume(self, *more):
        return here("resume", "r.csv", "--yes", *more)

    def undo(self, *more):
        return here("undo", "r.csv", "--yes", *UNHURRIED, *more)

    @property
    def states(self):
        return self.service.states(self.devices)

    @property
    def arrivals(self):
        return self.service.report().arrivals

    def calls(self, since=0, operation=OFF):
        """Returns the rows for which an operation was called, of a number of calls on, in their order in the list."""
        rows = {device: row for row, (device, _) in enumerate(self.devices, 1)}
        called = [call["device_sn"] for call in self.service.calls()[since:] if call["operation"] == operation]
        return sorted(rows[device] for device in called if device in rows)


class Slow(Place):
    """A run slow enough to be looked at: two minutes, unless it is ended."""

    def __init__(self, directory, service, rows=5000):
        super().__init__(directory, service, rows)
        self.files = RunFiles(self.results)
        service.tell("faults", shares={})

    def command(self, *more, rate=40):
        pace = ("--rate", rate, "--per-address-rate", FAST, "--limits-raised")
        where = ("--endpoint", self.service.url, "--instance", INSTANCE, "--yes", "-q", *pace)
        return super().command(*more, where=where)

    @contextmanager
    def running(self, *more, **options):
        with start(*self.command("--preflight", "never", *more, **options)) as child:
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
        """Waits until the run stands in the desired state; returns how it stands then."""

        def found():
            with suppress(BulkcertError):
                status = status_of(self.files)
                return status if holds(status) else None

        return wait_for(None, found)

    def until_it_does(self, holds):
        """Waits until the figures of its running session are in the desired state; returns how it stands then."""

        def does(status):
            stats = figures_of(status.session)
            return status.state is State.RUNNING and stats is not None and holds(stats)

        return self.until(does)

    def calling(self, rows=1):
        return self.until_it_does(lambda stats: stats.done >= rows)

    @property
    def status(self):
        """How the run stands."""
        return status_of(self.files)

    def told(self, status=None):
        """Returns what ``status --json`` prints; this process is another one than the run's."""
        return json.loads(msgspec.json.encode(shown(status or status_of(self.files))))

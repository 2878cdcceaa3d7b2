"""A real browser that looks at a page: Chromium without a window, spoken to over a pipe."""

import base64
import json
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

_OPTIONS = "headless no-sandbox disable-gpu disable-quic disable-dev-shm-usage disable-background-networking"
_OPTIONS += " disable-component-update disable-sync no-first-run hide-scrollbars remote-debugging-pipe"


class Page:
    """One page.

    Attributes:
        said: What the page has put on the console, and what the browser has logged about it.
        asked: URLs that it has asked for, the page itself left out.
    """

    def __init__(self, pipe, answers):
        self._pipe, self._answers, self._number, self._session = pipe, answers, 0, None
        self._events = []
        self.said, self.asked = [], []

    def tell(self, method, **parameters):
        """Sends a command and returns its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._pipe.write(json.dumps(message).encode() + b"\0")
        self._pipe.flush()
        while (heard := self._hear()).get("id") != self._number:
            self._events.append(heard["method"])
        assert "error" not in heard, heard
        return heard["result"]

    def _hear(self):
        text = bytearray()
        while (character := self._answers.read(1)) != b"\0":
            assert character, "the browser has ended"
            text += character
        heard = json.loads(text)
        match heard.get("method"):
            case "Runtime.consoleAPICalled" | "Runtime.exceptionThrown" | "Log.entryAdded":
                self.said.append(heard["params"])
            case "Network.requestWillBeSent":
                self.asked.append(heard["params"]["request"]["url"])
        return heard

    def attach(self):
        target = self.tell("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.tell("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.tell(f"{domain}.enable")

    def open(self, path):
        """Opens a file, or an address, and waits until it is loaded."""
        url = path if isinstance(path, str) else path.resolve().as_uri()
        self._events.clear()
        self.tell("Page.navigate", url=url)
        while "Page.loadEventFired" not in self._events:
            self._events.append(self._hear().get("method"))
        self.asked.remove(url)

    def show(self, *, width, height=900, scheme="light"):
        """Sets the width of the window, in pixels, and the colour scheme that its user prefers."""
        self.tell("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.tell("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def value(self, expression):
        """Returns what an expression is worth on the page."""
        return self.tell("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def screenshot(self):
        """Returns what the window shows of the page, as PNG."""
        shot = self.tell("Page.captureScreenshot")
        return base64.b64decode(shot["data"])

    def pdf(self):
        """Returns the page as it is printed."""
        return base64.b64decode(self.tell("Page.printToPDF", preferCSSPageSize=True, printBackground=True)["data"])


@contextmanager
def browser():
    """Runs Chromium with a profile of its own; yields an empty page."""
    to_browser, from_browser = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        child = _start(profile, to_browser[0], from_browser[1])
        try:
            with open(to_browser[1], "wb") as pipe, open(from_browser[0], "rb") as answers:  # noqa: PTH123
                page = Page(pipe, answers)
                page.attach()
                yield page
        finally:
            child.kill()
            child.wait()


def _start(profile, commands, answers):
    """Starts Chromium, which reads commands from descriptor 3 and answers on 4."""
    command = [CHROMIUM, *(f"--{name}" for name in _OPTIONS.split()), f"--user-data-dir={profile}"]
    script = f'exec "$@" 3<&{commands} 4>&{answers}'
    child = subprocess.Popen(
        ["/bin/bash", "-c", script, "chromium", *command],
        pass_fds=(commands, answers),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(commands)
    os.close(answers)
    return child

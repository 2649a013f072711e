"""A headless Chromium, driven by its DevTools protocol over a pipe: what a page does when somebody reads it."""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
SECONDS = 60  # for an answer
# The protocol wants to be read from 3 and written to 4.
START = """
import os, sys
for number, copy in zip((3, 4), [os.dup(int(given)) for given in sys.argv[1:3]]):
    os.dup2(copy, number)
    os.set_inheritable(number, True)
os.execv(sys.argv[3], sys.argv[3:])
"""


def find_chromium() -> str | None:
    """The path of a Chromium, None where there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One page. `trouble` holds whatever it complained of: exceptions, errors in the console, and what it fetched."""

    def __init__(self, reading: int, writing: int):
        self._reading, self._writing, self._buffer, self._number = reading, writing, b"", 0
        self.trouble: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def open(self, path: Path, width: int = 1200, height: int = 900, dark: bool = False, scripts: bool = True) -> None:
        """Load a file, as on a screen of that size in CSS pixels, and wait until its figures are drawn."""
        self.trouble.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.wait("document.readyState === 'complete'")
        if scripts:
            self.wait("document.documentElement.dataset.ready === 'yes'")

    def wait(self, expression: str) -> None:
        """Wait until an expression of JavaScript is true."""
        end = time.monotonic() + SECONDS
        while not self.value(expression):
            assert time.monotonic() < end, f"never: {expression}; {self.trouble}"
            time.sleep(0.05)

    def value(self, expression: str) -> Any:
        """What an expression of JavaScript (or a promise of it) comes to."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press the mouse at a place, move it, and let go."""
        for kind, (x, y) in (("mousePressed", start), ("mouseMoved", end), ("mouseReleased", end)):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def screenshot(self, path: Path, full: bool = True) -> None:
        """A picture of the page, all of it or what is seen."""
        found = self.call("Page.captureScreenshot", captureBeyondViewport=full)
        path.write_bytes(base64.b64decode(found["data"]))

    def pdf(self) -> bytes:
        """The page on paper."""
        return base64.b64decode(self.call("Page.printToPDF", printBackground=False)["data"])

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A method of the protocol, in the page."""
        return self._call(method, session=self._session, **parameters)

    def _call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._writing, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + SECONDS
        while True:
            answer = self._next(end)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            self._take_note(answer)

    def _next(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._reading], [], [], max(0.0, end - time.monotonic()))
            assert ready, "the browser does not answer"
            chunk = os.read(self._reading, 1 << 20)
            assert chunk, "the browser has ended"
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(line)

    def _take_note(self, event: dict[str, Any]) -> None:
        kind, told = event.get("method"), event.get("params", {})
        if kind == "Runtime.exceptionThrown":
            self.trouble.append(str(told["exceptionDetails"]))
        if kind == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
            self.trouble.append(f"console: {told['args']}")
        if kind == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.trouble.append(f"log: {told['entry']['text']} {told['entry'].get('url', '')[:200]}")
        if kind == "Network.requestWillBeSent" and not told["request"]["url"].startswith(("file:", "data:", "blob:")):
            self.trouble.append(f"fetched: {told['request']['url']}")
        if kind == "Page.javascriptDialogOpening":
            self.trouble.append(f"dialog: {told['message']}")
            self.call("Page.handleJavaScriptDialog", accept=False)


@contextlib.contextmanager
def browser(program: str) -> Iterator[Browser]:
    """A running browser, that ends with the block and leaves nothing."""
    (own_in, its_out), (its_in, own_out) = os.pipe(), os.pipe()

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [program, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run",
                   "--disable-dev-shm-usage", "--disable-extensions", f"--user-data-dir={profile}"]  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, "-c", START, str(its_in), str(its_out), *command],
            pass_fds=(its_in, its_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(its_in)
        os.close(its_out)
        try:
            yield Browser(own_in, own_out)
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            if process.poll() is None:
                process.kill()
                process.wait(10)
            os.close(own_in)
            os.close(own_out)

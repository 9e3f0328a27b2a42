"""A browser without a window, spoken to through a pipe in the DevTools protocol.

https://chromedevtools.github.io/devtools-protocol: a message is a JSON object that ends in a zero
byte, on the descriptors 3 and 4 of the browser's process.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",  # which root cannot have
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # no name has an address: there is no network
    "--remote-debugging-pipe",
)
SECONDS = 60  # a visit of one page takes a few


class Browser:
    """One page in one browser; what went wrong in it gathers in `complaints`."""

    def __init__(self, seconds: float = SECONDS) -> None:
        program = next(filter(None, map(shutil.which, NAMES)), None)
        if program is None:
            raise FileNotFoundError(f"none of {', '.join(NAMES)} is installed")
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self._loaded = False
        self._count = 0
        self._home = tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True)
        to_read, self._send = os.pipe()
        self._receive, to_write = os.pipe()
        # The shell puts the two ends where the browser looks for them.
        command = f'exec "$0" "$@" 3<&{to_read} 4>&{to_write}'
        flags = (*FLAGS, f"--user-data-dir={self._home.name}", "about:blank")
        self._process = subprocess.Popen(
            ["bash", "-c", command, program, *flags],
            pass_fds=(to_read, to_write),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=os.environ | {"HOME": self._home.name},
        )
        os.close(to_read)
        os.close(to_write)
        self._rest = b""
        self._watchdog = threading.Timer(seconds, self._kill)
        self._watchdog.start()
        targets = self.ask("Target.getTargets")["targetInfos"]
        page = next(each["targetId"] for each in targets if each["type"] == "page")
        self._session: str | None = None
        self._session = self.ask("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "Security"):
            self.ask(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *error: object) -> None:
        self._watchdog.cancel()
        self._kill()
        self._process.wait()
        os.close(self._send)
        os.close(self._receive)
        self._home.cleanup()

    def _kill(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)

    def ask(self, method: str, **parameters: Any) -> Any:
        """Give an order and wait for its answer; note what happens meanwhile."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": parameters}
        if getattr(self, "_session", None):
            message["sessionId"] = self._session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._count:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self._note(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = os.read(self._receive, 1 << 20)
            if not more:
                raise RuntimeError("the browser has gone away")
            self._rest += more
        line, self._rest = self._rest.split(b"\0", 1)
        found: dict[str, Any] = json.loads(line)
        return found

    def _note(self, event: dict[str, Any]) -> None:
        what, about = event.get("method"), event.get("params", {})
        if what == "Page.loadEventFired":
            self._loaded = True
        elif what == "Network.requestWillBeSent":
            self.requests.append(about["request"]["url"])
        elif what == "Log.entryAdded":
            self.complaints.append(f"{about['entry']['level']}: {about['entry']['text']}")
        elif what == "Runtime.consoleAPICalled":
            texts = [str(each.get("value")) for each in about["args"]]
            self.complaints.append(f"console: {' '.join(texts)}")
        elif what == "Runtime.exceptionThrown":
            self.complaints.append(f"exception: {about['exceptionDetails']['text']}")

    def open(self, page: Path) -> None:
        """Load a file and wait until all of it is there."""
        self._loaded = False
        self.ask("Page.navigate", url=page.resolve().as_uri())
        while not self._loaded:
            self._note(self._next())

    def resize(self, width: int, height: int, scale: float = 1.0, mobile: bool = False) -> None:
        """Take another size, in CSS pixels."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=mobile,
        )

    def scheme(self, name: str) -> None:
        """Prefer "light" or "dark"."""
        self.ask(
            "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}]
        )

    def value(self, expression: str) -> Any:
        """Evaluate JavaScript."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']['text']}")
        return answer["result"].get("value")

    def screenshot(self, file: Path, whole: bool = True) -> None:
        """Save the page as a PNG picture: all of it, or what the window shows."""
        found = self.ask("Page.captureScreenshot", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(found["data"]))

    def pdf(self, file: Path) -> None:
        """Print the page on A4."""
        found = self.ask(
            "Page.printToPDF", paperWidth=8.27, paperHeight=11.69, preferCSSPageSize=False
        )
        file.write_bytes(base64.b64decode(found["data"]))

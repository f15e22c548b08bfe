"""Chromium without a window, driven over the WebDriver protocol (W3C) by Debian's `chromium-driver`."""

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

from vlm_assets_tests.waiting import HANG_S, until


def available() -> bool:
    """Whether chromium and its driver are installed."""
    return bool(shutil.which("chromedriver") and shutil.which("chromium"))


class Browser:
    """One browser with one page."""

    def __init__(self, width: int = 1500, height: int = 1000) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._base = f"http://127.0.0.1:{port}"
        self._driver = subprocess.Popen(
            ["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._size = (width, height)
        self._session = ""

    def __enter__(self) -> Self:
        size = f"--window-size={self._size[0]},{self._size[1]}"
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", size]
        wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": {"args": flags}}}}
        self._session = until(lambda: self._new_session(wanted), "chromedriver", every_s=0.5)
        return self

    def _new_session(self, wanted: dict[str, Any]) -> str:
        try:
            return str(self._call("POST", "/session", wanted)["sessionId"])
        except urllib.error.URLError:
            return ""

    def __exit__(self, *_: object) -> None:
        try:
            self._call("DELETE", f"/session/{self._session}")
        finally:
            self._driver.kill()
            self._driver.wait(HANG_S)

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(
            self._base + path, data, {"content-type": "application/json"}, method=method
        )
        with urllib.request.urlopen(request, timeout=HANG_S) as answer:
            return json.load(answer)["value"]

    def run(self, script: str) -> Any:
        """What a piece of JavaScript returns."""
        body = {"script": script, "args": []}
        return self._call("POST", f"/session/{self._session}/execute/sync", body)

    def open(self, url: str, *texts: str, seconds: float = HANG_S) -> float:
        """Opens a page; seconds until all texts stand on it.

        Raises:
            AssertionError: not within so many seconds; says what stands there instead.
        """
        clock = time.perf_counter()
        self._call("POST", f"/session/{self._session}/url", {"url": url})
        shown = ""
        while time.perf_counter() - clock < seconds:
            shown = str(self.run("return document.body ? document.body.innerText : ''"))
            if all(text in shown for text in texts):
                return time.perf_counter() - clock
            time.sleep(0.05)
        raise AssertionError(f"{url} does not show {[t for t in texts if t not in shown]}:\n{shown[:2000]}")

    def click(self, text: str) -> bool:
        """Clicks the innermost element with exactly this text; whether there is one."""
        script = f"""
            const wanted = {json.dumps(text)};
            const found = [...document.querySelectorAll('button, a, div, span')]
                .filter(one => one.textContent.trim() === wanted && one.children.length === 0);
            if (found.length) found[0].click();
            return found.length > 0;"""
        return bool(self.run(script))

    def shoot(self, path: Path) -> None:
        """A screenshot of what is in view."""
        path.write_bytes(base64.b64decode(self._call("GET", f"/session/{self._session}/screenshot")))

    def look(self, width: int, height: int = 1000, *, dark: bool = False) -> None:
        """Pages are shown so wide from now on, also where no window is so narrow, to somebody who likes them dark."""
        self._tell(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._tell("Emulation.setEmulatedMedia", features=[theme])

    def _tell(self, command: str, **parameters: Any) -> None:
        """A command of Chrome's own protocol."""
        body = {"cmd": command, "params": parameters}
        self._call("POST", f"/session/{self._session}/goog/cdp/execute", body)

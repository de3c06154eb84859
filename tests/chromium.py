"""Headless Chromium over its own driver: the few commands of W3C WebDriver that the console's tests need.

Source: https://www.w3.org/TR/webdriver2/, read 2026-11-28; `goog/cdp/execute` and `se/log` are chromedriver's own.
"""

import base64
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2

CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
ARGUMENTS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars")
PATIENCE_S = 45
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""The key under which the protocol names an element."""

_STARTED = re.compile(r"started successfully on port (\d+)")


class Chromium:
    """One session."""

    def __init__(self, http: httpx2.Client) -> None:
        self._http = http
        capabilities = {
            "browserName": "chrome",
            "goog:chromeOptions": {"binary": CHROMIUM, "args": ARGUMENTS},
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        answer = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})
        self._session = f"/session/{answer['sessionId']}"

    def tell(self, command: str, **arguments: Any) -> Any:
        """Send a command of the session."""
        return self._ask("POST", f"{self._session}/{command}", arguments)

    def ask(self, what: str) -> Any:
        """Ask about the session."""
        return self._ask("GET", f"{self._session}/{what}", None)

    def devtools(self, command: str, **arguments: Any) -> Any:
        """Send a command of the DevTools protocol."""
        return self.tell("goog/cdp/execute", cmd=command, params=arguments)

    def screenshot(self) -> bytes:
        """What is in sight, as PNG."""
        return base64.b64decode(self.ask("screenshot"))

    def close_window(self) -> None:
        """Close the tab."""
        self._ask("DELETE", f"{self._session}/window", None)

    def quit(self) -> None:
        """End the session and the browser."""
        self._ask("DELETE", self._session, None)

    def _ask(self, method: str, path: str, body: Any) -> Any:
        answer = self._http.request(method, path, json=body)
        value = answer.json()["value"]
        if answer.is_error:
            raise AssertionError(f"{path}: {value['error']}: {value['message']}")
        return value


@contextmanager
def chromium() -> Iterator[Chromium]:
    """Start driver and browser, and end them."""
    driver = subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, text=True)  # noqa: S603 - a fixed path
    try:
        assert driver.stdout is not None
        port = next(found[1] for line in driver.stdout if (found := _STARTED.search(line)))
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S, trust_env=False) as http:
            browser = Chromium(http)
            try:
                yield browser
            finally:
                browser.quit()
    finally:
        driver.terminate()
        driver.wait()
        driver.stdout.close()

"""A Chromium driven by its DevTools protocol alone, for page states that Playwright prevents: hidden, frozen,
or in the back/forward cache.

https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import tempfile
from types import TracebackType
from typing import Any

from websockets.sync.client import connect

from .chromium import EXECUTABLE, FLAGS

ANSWER = 20.0  # seconds for any command


class Tabs:
    """One browser with tabs. The last opened tab is in front. A context manager."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._profile = tempfile.TemporaryDirectory(prefix="sluice-tabs-", ignore_cleanup_errors=True)
        command = [EXECUTABLE, "--headless=new", *FLAGS, f"--user-data-dir={self._profile.name}"]
        self._process = subprocess.Popen(
            [*command, "--remote-debugging-port=0"], stderr=subprocess.PIPE, text=True, bufsize=1
        )
        assert self._process.stderr
        for line in self._process.stderr:
            if found := re.search(r"DevTools listening on (ws://\S+)", line):
                break
        else:
            raise RuntimeError(f"Chromium did not start: status {self._process.wait()}")
        self._socket = connect(found[1], max_size=None, compression=None, legacy=True)

    def __enter__(self) -> Tabs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
        self._process.kill()
        self._process.communicate()
        self._profile.cleanup()

    def open(self, url: str) -> Tab:
        """Open a tab in front of the others."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, target, session)
        tab.send("Page.enable")
        tab.go(url)
        return tab

    def send(self, method: str, session: str = "", /, **parameters: Any) -> dict[str, Any]:
        """Send one command of the protocol and return its result."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        self._socket.send(json.dumps(message | ({"sessionId": session} if session else {})))
        while True:
            answer = json.loads(self._socket.recv(ANSWER))
            if answer.get("id") == number:
                assert "result" in answer, f"{method}: {answer}"
                result: dict[str, Any] = answer["result"]
                return result


class Tab:
    """One tab."""

    def __init__(self, tabs: Tabs, target: str, session: str) -> None:
        self._tabs = tabs
        self._target = target
        self._session = session

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one command to this tab."""
        return self._tabs.send(method, self._session, **parameters)

    def evaluate(self, expression: str, argument: Any = None) -> Any:
        """Like Playwright's evaluate: return the value of an expression, or of a function called with the
        argument.
        """
        if argument is not None:
            expression = f"({expression.strip()})({json.dumps(argument)})"
        found = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def go(self, url: str) -> None:
        """Load a page."""
        self.send("Page.navigate", url=url)
        self._wait_until_loaded()

    def go_back(self) -> None:
        """Go back, as the browser's button does."""
        history = self.send("Page.getNavigationHistory")
        before = history["entries"][history["currentIndex"] - 1]["id"]
        self.send("Page.navigateToHistoryEntry", entryId=before)
        self._wait_until_loaded()

    def to_front(self) -> None:
        """Bring it into view."""
        self._tabs.send("Target.activateTarget", targetId=self._target)

    def freeze(self) -> None:
        """Stop its scripts and timers, as the browser does with tabs that were hidden for long."""
        self.send("Page.setWebLifecycleState", state="frozen")

    def thaw(self) -> None:
        """Undo `freeze`."""
        self.send("Page.setWebLifecycleState", state="active")

    def _wait_until_loaded(self) -> None:
        self.evaluate(
            "new Promise((loaded) =>"
            " document.readyState === 'complete' ? loaded() : addEventListener('load', loaded))"
        )

"""Tabs of Debian's Chromium and Firefox, with the npm package in them.

Unlike Playwright, `client/tests/browsers.mjs` drives a stock Firefox, by WebDriver BiDi, and leaves
the tabs in the background hidden, so that Chromium throttles and freezes them as a user's.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tests.support.nodes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]

_PROGRAMS = {"chrome": "chromium", "firefox": "firefox-esr"}


class BrowserProcess:
    """A browser and the program that drives it, ended with the `with` block.

    Args:
        name: `chrome` or `firefox`.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._process = subprocess.Popen(
            ["node", ROOT / "client/tests/browsers.mjs", name, shutil.which(_PROGRAMS[name]) or ""],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.pid: int = self._read()["pid"]
        self._numbers = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    @contextlib.contextmanager
    def asleep(self) -> Iterator[None]:
        """Stop all processes of the browser, as the sleep of a computer does."""
        signal_family(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            signal_family(self.pid, signal.SIGCONT)

    def new_number(self) -> int:
        """Return a number for a tab or a profile."""
        self._numbers += 1
        return self._numbers

    def ask(self, command: str, of: int, **arguments: object) -> Any:  # noqa: ANN401
        """Carry out a command of `browsers.mjs` on a tab or a profile; return its value."""
        assert self._process.stdin is not None
        request = {"command": command, "of": of, **arguments}
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        answer = self._read()
        if "error" in answer:
            raise RuntimeError(f"{self.name}: {command}: {answer['error']}")
        return answer["value"]

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "browsers.mjs has ended"
        answer: dict[str, Any] = json.loads(line)
        return answer


class Tab:
    """One tab; those of one profile share locks, channels and storage."""

    def __init__(self, browser: BrowserProcess, profile: int) -> None:
        self._browser = browser
        self._number = browser.new_number()
        browser.ask("open", self._number, context=profile)

    def goto(self, url: str) -> None:
        """Load a page."""
        self._browser.ask("goto", self._number, url=url)

    def evaluate(self, expression: str, *arguments: object) -> Any:  # noqa: ANN401
        """Return an expression's value, or that of a function called with arguments.

        A promise's value is the one that it settles to.
        """
        if arguments:
            expression = f"({expression})({', '.join(map(json.dumps, arguments))})"
        return self._browser.ask("evaluate", self._number, expression=expression)

    def show(self) -> None:
        """Make it the tab that the user sees."""
        self._browser.ask("show", self._number)

    def close(self) -> None:
        """Close it as a user does."""
        self._browser.ask("close", self._number)

    # Chromium only

    def set_offline(self, is_offline: bool) -> None:
        """Take the network away, or give it back."""
        self._browser.ask("offline", self._number, isOffline=is_offline)

    def freeze(self) -> None:
        """Freeze the hidden page, as the browser does to save power."""
        assert self.evaluate("document.visibilityState") == "hidden"
        self._browser.ask("lifecycle", self._number, state="frozen")

    def thaw(self) -> None:
        """Let the page run again."""
        self._browser.ask("lifecycle", self._number, state="active")

    def used_heap_bytes(self) -> int:
        """Return the size of the page's objects after a garbage collection."""
        used: int = self.evaluate("gc(), performance.memory.usedJSHeapSize")
        return used


class Profile:
    """What one user has open in a browser."""

    def __init__(self, browser: BrowserProcess) -> None:
        self.browser = browser
        self._number = browser.new_number()

    def new_tab(self) -> Tab:
        """Open a tab; it is the one that the user sees."""
        return Tab(self.browser, self._number)

    def close(self) -> None:
        """Close all tabs, and forget what they stored."""
        self.browser.ask("forget", self._number)


# The npm package in a tab


def bundle(source: str, folder: Path, *flags: str) -> str:
    """Return a script for `evaluate`: a module of ours with all that it imports."""
    entry = folder / "entry.jsx"
    entry.write_text(source)
    done = subprocess.run(
        [
            ROOT / "client/node_modules/.bin/esbuild",
            *(entry, "--bundle", "--format=iife", "--global-name=SseNode", "--jsx=automatic"),
            '--define:process.env.NODE_ENV="development"',
            *flags,
        ],
        env={**os.environ, "NODE_PATH": str(ROOT / "client/node_modules")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + "\n;globalThis.SseNode = SseNode; undefined"


# Keeps what a connection is told: events by number, and resets by reason, in their order.
OPEN_CLIENT = """(url, { transport, tokens, ...options }) => {
  globalThis.told = [];
  globalThis.states = [];
  globalThis.ids = [];
  if (options.cookies) {
    options.getToken = (refused) => {
      if (refused) document.cookie = `token=${options.cookies.shift()}; path=/`;
      return true;
    };
  }
  if (tokens) options.getToken = (refused) => (refused && tokens.shift(), tokens[0]);
  if (options.lastEventId === "localStorage") options.lastEventId = localStorage;
  globalThis.connection = SseNode[transport === "fetch" ? "connectOverFetch" : "connect"](url, {
    onEvent: (eventType, data, { id }) => { told.push(data.number); ids.push(id); },
    onReset: ({ reason }) => told.push(reason),
    onClosed: ({ reason }) => told.push(reason),
    onState: (state) => states.push(state),
    ...options,
  });
}"""

OPEN_NATIVE = """(url) => {
  const names = ["connecting", "open", "closed"];
  globalThis.told = [];
  globalThis.states = [];
  globalThis.source = new EventSource(url);
  globalThis.connection = { get state() { return names[source.readyState]; } };
  source.onopen = () => states.push("open");
  source.onerror = () => states.push("waiting");
  source.onmessage = ({ data }) => told.push(JSON.parse(data).number);
  source.addEventListener("sse.reset", ({ data }) => told.push(JSON.parse(data).reason));
}"""


class Client:
    """A connection in a tab, and what it was told."""

    def __init__(self, tab: Tab, script: str, origin: str) -> None:
        """Load a page of the origin, and the package into it."""
        self.tab = tab
        tab.goto(f"{origin}/health/live")
        tab.evaluate(script)

    def connect(self, url: str, **options: object) -> Client:
        """Open a connection with the package's `connect`."""
        self.tab.evaluate(OPEN_CLIENT, url, options)
        return self

    def connect_natively(self, url: str) -> Client:
        """Open an EventSource without the package."""
        self.tab.evaluate(OPEN_NATIVE, url)
        return self

    def told(self) -> list[int | str]:
        """Return the numbers of the events, and the reasons of resets and of the end."""
        told: list[int | str] = self.tab.evaluate("told")
        return told

    def count(self) -> int:
        """Return how much has been told."""
        count: int = self.tab.evaluate("told.length")
        return count

    def wait_for_count(self, count: int, timeout_s: float = 20) -> None:
        """Wait until so much has been told."""
        wait_until(lambda: self.count() >= count, f"{count} events", timeout_s)

    def state(self) -> str:
        """Return the connection's state."""
        return str(self.tab.evaluate("connection.state"))

    def states(self) -> list[str]:
        """Return the states that were told."""
        states: list[str] = self.tab.evaluate("states")
        return states

    def wait_for_state(self, state: str, timeout_s: float = 20) -> None:
        """Wait until the connection is in a state."""
        wait_until(lambda: self.state() == state, f"the connection is {state}", timeout_s)

    def wait_for(self, *told: int | str, timeout_s: float = 20) -> None:
        """Wait until so much has been told, and compare it."""
        self.wait_for_count(len(told), timeout_s)
        assert self.told() == list(told)

    def wait_until_told(
        self, is_enough: Callable[[list[int | str]], bool], timeout_s: float = 20
    ) -> None:
        """Wait until enough has been told."""
        wait_until(lambda: is_enough(self.told()), "events", timeout_s)


def signal_family(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process and all its descendants."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        signal_family(int(child), number)
    os.kill(pid, number)

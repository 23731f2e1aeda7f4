"""`make run` as the README has it: in a fresh clone, on a terminal, ended with Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

import httpx
import pytest

from bench.harness import ROOT, environment_without_settings
from tests.support.nodes import wait_until
from tests.support.stream_client import StreamClient

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.integration

INSTALLED_WITHIN_S = 180.0
CTRL_C = b"\x03"


class Terminal:
    """A program on a terminal of its own; what is still running is killed with the `with` block."""

    def __init__(self, *command: str, directory: Path, env: Mapping[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        # setsid makes the terminal the one that Ctrl-C comes from.
        self._process = subprocess.Popen(
            ["setsid", "--ctty", *command],
            cwd=directory,
            env=env,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        self.shown = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._ours)  # hangs up: everything on this terminal is told
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def type(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def wait_for(self, regex: str, timeout_s: float) -> re.Match[str]:
        """Read until this is shown."""
        deadline_s = time.monotonic() + timeout_s
        while not (found := re.search(regex, self.shown)):
            assert self._read(deadline_s), f"not shown: {regex}; but: {self.shown}"
        return found

    def wait(self, timeout_s: float) -> int:
        """Read until the program has ended; its exit code."""
        deadline_s = time.monotonic() + timeout_s
        while self._read(deadline_s):
            pass
        return self._process.wait(max(0.0, deadline_s - time.monotonic()))

    def _read(self, deadline_s: float) -> bool:
        timeout_s = max(0.0, deadline_s - time.monotonic())
        if not select.select([self._ours], [], [], timeout_s)[0]:
            return False
        with contextlib.suppress(OSError):  # EIO: nobody has the terminal open any more
            data = os.read(self._ours, 65536)
            self.shown += data.decode(errors="replace")
            return bool(data)
        return False


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A fresh clone of what is committed."""
    owned_by_anybody = ("-c", "safe.directory=*")
    where = tmp_path / "sse-node"
    subprocess.run(["git", *owned_by_anybody, "clone", "--quiet", ROOT, where], check=True)
    return where


def users_of(path: Path | str) -> list[str]:
    """The command lines of the processes that name a path."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            line = (process / "cmdline").read_text(errors="replace").replace("\0", " ")
            if str(path) in line:
                found.append(line)
    return found


def wait_until_ready(url: str) -> None:
    wait_until(lambda: httpx.get(f"{url}/health/ready").is_success, "the node is ready")


def test_make_run_until_ctrl_c(clone: Path) -> None:
    env = {
        name: value
        for name, value in environment_without_settings().items()
        if not name.startswith("MAKE")  # of the make that runs the tests
    }
    for first in (True, False):
        command = ("make", "run", "ARGS=--port 0")
        with Terminal(*command, directory=clone, env=env) as terminal:
            url = terminal.wait_for(r"listening on (http://127\.0\.0\.1:\d+)", INSTALLED_WITHIN_S)
            assert ("installing into .venv" in terminal.shown) is first
            socket_path = terminal.wait_for(r"serves on unix://(\S+)", 0)[1]
            page = httpx.get(url[1])
            assert page.status_code == 200
            assert "<form" in page.text
            wait_until_ready(url[1])
            with StreamClient(url[1]) as stream:
                stream.wait_open()
                terminal.type(CTRL_C)
                asked_s = time.monotonic()
                assert terminal.wait(5) == 0
                assert time.monotonic() - asked_s < 5
                stream.wait_closed()
        assert "Error" not in terminal.shown
        wait_until(lambda: users_of(clone) == [], "no process is left")
        assert not Path(socket_path).parent.exists()

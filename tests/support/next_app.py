"""The example in `examples/nextjs`, built and started as its README says."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from bench.harness import ROOT, ChildProcess, accepts, environment_without_settings, free_port

if TYPE_CHECKING:
    from collections.abc import Mapping

EXAMPLE = ROOT / "examples/nextjs"
_NEXT = EXAMPLE / "node_modules/next/dist/bin/next"
_NO_TELEMETRY = {"NEXT_TELEMETRY_DISABLED": "1"}


def build(api_url: str) -> None:
    """Install what the example needs, and run `next build`.

    Args:
        api_url: where the pages' `/api` leads; fixed by the build.
    """
    installed = "examples/nextjs/node_modules/.installed"
    subprocess.run(["make", "--silent", installed], cwd=ROOT, check=True)
    done = subprocess.run(
        ["node", _NEXT, "build"],
        cwd=EXAMPLE,
        env={**os.environ, **_NO_TELEMETRY, "API_URL": api_url},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


class NextProcess(ChildProcess):
    """`next start` of the example; it is up when it accepts connections."""

    name = "next"

    def __init__(self, env: Mapping[str, str]) -> None:
        """Take what is added to the environment."""
        super().__init__(env=environment_without_settings() | _NO_TELEMETRY | dict(env))
        self._port = free_port()
        self.url = f"http://localhost:{self._port}"

    def _start(self, timeout_s: float) -> None:
        where = ("--port", str(self._port), "--hostname", "localhost")
        self._spawn(["node", _NEXT, "start", EXAMPLE, *where])
        self._wait_until(lambda: accepts("localhost", self._port), "a connection", timeout_s)

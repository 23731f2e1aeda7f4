"""Nodes, as `python -m sse_node serve` starts them."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from bench.harness.addresses import ask, get
from bench.harness.child import ChildProcess
from bench.measure import procfs as proc


class NodeProcess(ChildProcess):
    """One sse-node: `python -m sse_node serve` with the given flags.

    It is up when its listener is open; `wait_ready` also waits for Redis. The kernel chooses the
    port of the first start; later starts use the same port. With the flag `--uds` there is no
    port. Settings in this process's environment do not reach the node.
    """

    name = "sse-node"
    stop_signal = signal.SIGINT  # as SIGTERM, without the delay for load balancers
    command: tuple[str, ...] = (sys.executable, "-m", "sse_node", "serve")
    port_flag = "--port"

    def __init__(
        self,
        *flags: str,
        env: Mapping[str, str] | None = None,
        cpu: int | None = None,
        port: int = 0,
    ) -> None:
        """Take the settings; `env` is added to the environment."""
        super().__init__(env=environment_without_settings() | dict(env or {}), cpu=cpu)
        self._flags = flags
        self.port = port
        self.host = "127.0.0.1"
        self.address = ""
        """Its address as it logs it: `http://127.0.0.1:41234` or `unix:/path`."""
        self.key = ""
        """The API key for `get` and `metric`; empty for none."""
        self.log: list[str] = []
        """The lines written to stderr since the first start."""
        self._lines_before_start = 0
        self._log_open = False
        self._more = threading.Condition()

    @property
    def url(self) -> str:
        """The base address for HTTP clients, without a slash at the end."""
        return f"http://{self.host}:{self.port}"

    def _start(self, timeout_s: float) -> None:
        self._lines_before_start = len(self.log)
        popen = self._spawn(
            [*self.command, *self._words()],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self._log_open = True
        threading.Thread(target=self._read_log, args=(popen,), daemon=True).start()
        self.address = self.wait_for_log(r"listening on ([^\s\"]+)", timeout_s)[1]
        if not self.address.startswith("unix:"):
            self.port = int(self.address.rpartition(":")[2])

    def _words(self) -> list[str]:
        where = (
            [] if "--uds" in self._flags else ["--host", self.host, self.port_flag, str(self.port)]
        )
        return [*where, *self._flags]

    def wait_ready(self, timeout_s: float = 10.0) -> None:
        """Return when `/health/ready` answers 200. Raises ProcessError."""
        request = b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        self._wait_until(
            lambda: ask(self.address, request).startswith(b"HTTP/1.1 200 "),
            "200 from /health/ready",
            timeout_s,
        )

    def get(self, target: str) -> httpx.Response:
        """Return the response to one GET request. Raises httpx.HTTPError."""
        return get(self.address, target, key=self.key)

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples with these labels over the node's processes."""
        return sum_of(self.get("/metrics").text, name, **labels)

    def worker_pids(self) -> set[int]:
        """Return the process ids of the running workers."""
        own = _command_line(self.pid)
        return {pid for pid in proc.children(self.pid) if _command_line(pid) == own}

    def wait_for_log(
        self, regex: str, timeout_s: float = 10.0, since: int | None = None
    ) -> re.Match[str]:
        """Wait for a match of `regex` in the log and return it. Raises ProcessError.

        Lines before index `since` of `log` are skipped; by default those of earlier starts.
        """
        pattern = re.compile(regex)
        position = self._lines_before_start if since is None else since
        deadline_s = time.monotonic() + timeout_s
        with self._more:
            while True:
                for line in self.log[position:]:
                    if match := pattern.search(line):
                        return match
                position = len(self.log)
                if not self._log_open:
                    raise self._failed(f"ended before it logged {regex!r}")
                if not self._more.wait(deadline_s - time.monotonic()):
                    raise self._failed(f"has not logged {regex!r} within {timeout_s} s")

    def last_output(self) -> Iterable[str]:
        """Return the lines of the log, the newest last."""
        return self.log

    def _read_log(self, popen: subprocess.Popen[bytes]) -> None:
        assert popen.stderr is not None
        with popen.stderr as stderr:
            for line in stderr:
                with self._more:
                    self.log.append(line.decode(errors="replace").rstrip("\n"))
                    self._more.notify_all()
        with self._more:
            if self._popen is popen:  # otherwise workers of an earlier start have ended
                self._log_open = False
            self._more.notify_all()


class WebhooksProcess(NodeProcess):
    """One `sse-node webhooks`; its address is that of health and metrics."""

    name = "webhooks"
    stop_signal = signal.SIGTERM
    command = (sys.executable, "-m", "sse_node", "webhooks")
    port_flag = "--webhook-port"


def sum_of(exposition: str, name: str, **labels: str) -> float:
    """Return the sum of a metric's samples with these labels; 0 without such samples."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def environment_without_settings() -> dict[str, str]:
    """Return this process's environment without the variables that configure sse-node."""
    own = {"PORT", "REDIS_URL", "REDIS_HOST", "REDIS_PORT", "SERVER_ID", "WEB_CONCURRENCY"}
    return {
        name: value
        for name, value in os.environ.items()
        if name not in own and not name.startswith("SSE_NODE_")
    }


def _command_line(pid: int) -> bytes:
    with contextlib.suppress(OSError):  # it has ended
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""

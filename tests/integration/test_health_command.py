"""`sse-node health`, which the image's HEALTHCHECK runs."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

import sse_node.cli.health
from bench.harness import ROOT, NodeProcess, RedisProcess, environment_without_settings, free_port
from sse_node.__main__ import main
from sse_node.cli.health import running_nodes

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration


class BareNodeProcess(NodeProcess):
    """A node whose place to listen is in its environment alone."""

    def _start(self, timeout_s: float) -> None:
        own = [*self.command, *self._flags]
        self._spawn(own, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._wait_until(lambda: health(*self.where).returncode == 0, "is alive", timeout_s)

    where: tuple[str, ...] = ()


def health(*flags: str, **env: str) -> subprocess.CompletedProcess[str]:
    """What `sse-node health` printed, and its exit code."""
    return subprocess.run(
        [sys.executable, "-m", "sse_node", "health", *flags],
        cwd=ROOT,
        env=environment_without_settings() | env,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_the_image_runs_it() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    check = re.search(r"^HEALTHCHECK .*\\\n\s+CMD (\[.*\])$", dockerfile, re.MULTILINE)
    assert check is not None
    assert check[1] == '["sse-node", "health"]'


def test_alive_and_not(redis: RedisProcess) -> None:
    with NodeProcess("--redis-url", redis.url) as node:
        port = str(node.port)
        for asked in (
            health("--port", port),
            health("--host", "127.0.0.1", SSE_NODE_PORT=port),
            health("--host", "0.0.0.0", PORT=port),
        ):
            assert (asked.returncode, asked.stderr) == (0, "")
        node.send_signal(signal.SIGSTOP)
        try:
            asked = health("--port", port)
        finally:
            node.send_signal(signal.SIGCONT)
        assert asked.returncode == 1
        assert "timed out" in asked.stderr
    asked = health("--port", port)
    assert asked.returncode == 1
    assert asked.stderr.startswith(f"sse-node: not alive: 127.0.0.1 port {port}: ")
    assert asked.stderr.count("\n") == 1


def test_alive_without_redis() -> None:
    with NodeProcess("--redis-url", "redis://127.0.0.1:1") as node:
        assert health("--port", str(node.port)).returncode == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_unix_socket(redis: RedisProcess, tmp_path: Path, workers: str) -> None:
    path = str(tmp_path / "node.sock")
    with NodeProcess("--uds", path, "--redis-url", redis.url, "--workers", workers):
        assert health("--uds", path).returncode == 0
    asked = health("--uds", path)
    assert asked.returncode == 1
    assert path in asked.stderr


def test_another_server() -> None:
    with RedisProcess(tcp=True) as other:
        asked = health("--port", str(other.port))
        assert asked.returncode == 1
        assert "not alive: 127.0.0.1 port" in asked.stderr


def test_wrong_setting_and_unknown_port() -> None:
    assert health("--port", "x").returncode == 3
    asked = health("--port", "0")
    assert asked.returncode == 1
    assert "expected --port" in asked.stderr


@pytest.mark.parametrize(
    ("flags", "variables", "workers"),
    [
        (("--port", "{port}"), {"SSE_NODE_PORT": "1", "PORT": "2"}, "1"),
        (("--port={port}", "--host", "0.0.0.0", "--auth", "none"), {}, "2"),
        ((), {"SSE_NODE_PORT": "{port}", "PORT": "2"}, "1"),
        ((), {"PORT": "{port}", "SSE_NODE_PORT": "tcp://10.96.0.7:3000"}, "1"),
        (("--uds", "{path}"), {"PORT": "2"}, "2"),
        ((), {"SSE_NODE_UDS": "{path}"}, "1"),
    ],
    ids=["flag", "flag-workers", "own-variable", "PORT", "uds-workers", "uds-variable"],
)
def test_the_running_node_is_found(
    redis: RedisProcess,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: tuple[str, ...],
    variables: dict[str, str],
    workers: str,
) -> None:
    """The check is given nothing; /proc shows it the processes of one node, as in a container."""
    places = {"port": str(free_port()), "path": str(tmp_path / "node.sock")}
    flags = tuple(flag.format(**places) for flag in flags)
    env = {name: value.format(**places) for name, value in variables.items()}
    node = BareNodeProcess(*flags, "--workers", workers, "--redis-url", redis.url, env=env)
    is_unix = any("node.sock" in word for word in (*flags, *env.values()))
    node.where = ("--uds", places["path"]) if is_unix else ("--port", places["port"])
    with node:
        proc = tmp_path / "proc"
        proc.mkdir()
        for pid in (node.pid, *node.worker_pids()):
            (proc / str(pid)).symlink_to(f"/proc/{pid}")
        assert len(list(running_nodes(proc))) == (1 if workers == "1" else 3)
        monkeypatch.setattr(sse_node.cli.health, "running_nodes", lambda: running_nodes(proc))
        result = CliRunner().invoke(main, ["health"])
        assert (result.exit_code, result.output) == (0, "")


def test_several_nodes(
    redis: RedisProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [str(tmp_path / f"{number}.sock") for number in (1, 2)]
    with (
        NodeProcess("--uds", paths[0], "--redis-url", redis.url) as first,
        NodeProcess("--uds", paths[1], "--redis-url", redis.url) as second,
    ):
        for node in (first, second):
            (tmp_path / str(node.pid)).symlink_to(f"/proc/{node.pid}")
        monkeypatch.setattr(sse_node.cli.health, "running_nodes", lambda: running_nodes(tmp_path))
        result = CliRunner().invoke(main, ["health"])
        assert result.exit_code == 3
        assert "several nodes run here" in result.stderr
        assert CliRunner().invoke(main, ["health", "--uds", paths[1]]).exit_code == 0

"""The units, and what a node does for systemd: readiness, watchdog, reload, socket, sandbox.

No systemd runs here: the test is the service manager, and `systemd-analyze` judges the units.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from bench.harness import ROOT, NodeProcess, RedisProcess, ask, free_port
from tests.support.nodes import client_of, wait_until
from tests.support.stream_client import WAIT_S, StreamClient
from tests.support.tokens import SECRET, signer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration

ONE_OR_TWO = pytest.mark.parametrize("workers", ["1", "2"])
UNITS = ROOT / "deploy" / "systemd"
LIVE = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


class Manager:
    """The socket of a service manager, and what it was told."""

    def __init__(self, path: Path) -> None:
        self.told: list[dict[str, str]] = []
        self.path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._socket.settimeout(WAIT_S)

    def close(self) -> None:
        self._socket.close()

    def next(self, *, skipping: str = "") -> dict[str, str]:
        """Return the next message, by variable; life signs may be skipped."""
        while True:
            lines = self._socket.recv(4096).decode().split("\n")
            message = dict(line.split("=", 1) for line in lines)
            if skipping not in message:
                return message


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path / "notify.sock")
    yield manager
    manager.close()


@contextmanager
def node_of(
    manager: Manager, redis: RedisProcess, *flags: str, **variables: str
) -> Iterator[NodeProcess]:
    environment = {"NOTIFY_SOCKET": manager.path, **variables}
    flags = ("--redis-url", redis.url, "--drain-delay", "0.1", *flags)
    with NodeProcess(*flags, env=environment) as node:
        yield node


@ONE_OR_TWO
def test_readiness_reload_and_stop(manager: Manager, redis: RedisProcess, workers: str) -> None:
    with node_of(manager, redis, "--workers", workers) as node:
        ready = manager.next()
        assert ready == {"READY": "1", "STATUS": f"listening on {node.address}"}
        assert ask(node.address, LIVE).startswith(b"HTTP/1.1 200 ")
        node.wait_ready()
        before = node.worker_pids()
        node.send_signal(signal.SIGHUP)
        assert manager.next()["RELOADING"] == "1"
        assert manager.next() == {"READY": "1", "STATUS": "serving"}
        assert not before & node.worker_pids()
        node.send_signal(signal.SIGTERM)
        assert manager.next()["STOPPING"] == "1"
        assert node.wait(10) == 0


@ONE_OR_TWO
def test_a_reload_that_fails_is_over_too(
    manager: Manager, redis: RedisProcess, tmp_path: Path, workers: str
) -> None:
    file = tmp_path / "sse-node.toml"
    file.write_text("")
    with node_of(manager, redis, "--workers", workers, "--config", str(file)) as node:
        manager.next()
        node.wait_ready()
        file.write_text("[listen]\nprot = 1\n")
        node.send_signal(signal.SIGHUP)
        assert manager.next()["RELOADING"] == "1"
        assert manager.next()["READY"] == "1"
        node.wait_for_log("SIGHUP: keeping the current")


@ONE_OR_TWO
def test_watchdog(manager: Manager, redis: RedisProcess, workers: str) -> None:
    flags = ("--workers", workers, "--ping-interval", "0.1")
    with node_of(manager, redis, *flags, WATCHDOG_USEC="2000000") as node:
        assert manager.next(skipping="WATCHDOG")["READY"] == "1"
        assert [manager.next() for _ in range(2)] == [{"WATCHDOG": "1"}] * 2
        node.wait_ready()
        with StreamClient(node.url) as stream:
            stream.wait_open()
            node.send_signal(signal.SIGTERM)
            assert manager.next(skipping="WATCHDOG")["STOPPING"] == "1"
            stream.wait_closed()
        assert node.wait(10) == 0


def test_only_the_first_process_is_the_service(manager: Manager, redis: RedisProcess) -> None:
    """Workers do not inherit what the service manager says, and it hears nothing from them."""
    with node_of(manager, redis, "--workers", "2", WATCHDOG_USEC="60000000") as node:
        manager.next(skipping="WATCHDOG")
        for pid in node.worker_pids():
            with open(f"/proc/{pid}/environ", "rb") as file:
                environment = file.read().split(b"\0")
            assert not [each for each in environment if each.startswith((b"NOTIFY_", b"WATCHDOG_"))]


# Sockets


class ActivatedNode(NodeProcess):
    """A node whose socket a service manager has opened, as descriptor 3."""

    command = (
        "/bin/bash", "-c",
        'exec 3<&"$FD" && LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" "$@"', *NodeProcess.command,
    )  # fmt: skip

    def __init__(self, listener: socket.socket, *flags: str) -> None:
        super().__init__(*flags, env={"FD": str(listener.fileno())})
        self._listener = listener

    def _spawn(self, command: Any, **options: Any) -> subprocess.Popen[bytes]:  # noqa: ANN401
        return super()._spawn(command, pass_fds=(self._listener.fileno(),), **options)


@pytest.fixture(params=["tcp", "unix"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[socket.socket]:
    if request.param == "tcp":
        with socket.create_server(("127.0.0.1", 0)) as listener:
            yield listener
        return
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "node.sock"))
        listener.listen()
        yield listener


def connect(listener: socket.socket) -> socket.socket:
    connection = socket.socket(listener.family)
    connection.settimeout(WAIT_S)
    connection.connect(listener.getsockname())
    return connection


@ONE_OR_TWO
def test_connections_wait_while_the_node_restarts(
    redis: RedisProcess, listener: socket.socket, workers: str
) -> None:
    flags = ("--redis-url", redis.url, "--workers", workers, "--drain-delay", "0")
    with ActivatedNode(listener, *flags) as node:
        node.wait_ready()
        assert node.terminate() == 0
        with connect(listener) as waiting:
            waiting.sendall(LIVE)
            node.start()
            assert waiting.recv(12) == b"HTTP/1.1 200"
        assert ask(node.address, LIVE).startswith(b"HTTP/1.1 200 ")
        assert node.terminate() == 0
    if listener.family == socket.AF_UNIX:
        assert os.path.exists(listener.getsockname())


def test_a_public_socket_needs_authentication(redis: RedisProcess) -> None:
    with socket.create_server(("0.0.0.0", 0)) as listener:
        node = ActivatedNode(listener, "--redis-url", redis.url)
        with pytest.raises(Exception, match=r"--host: '0\.0\.0\.0' is not allowed"), node:
            pass
        assert node.returncode == 3


def test_systemds_own_tool_starts_a_node() -> None:
    port = free_port()
    command = ["systemd-socket-activate", f"--listen=127.0.0.1:{port}",
               sys.executable, "-m", "sse_node", "serve", "--drain-delay", "0"]  # fmt: skip
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "Listening on" in process.stderr.readline()
        assert httpx.get(f"http://127.0.0.1:{port}/health/live", timeout=20).status_code == 200
        process.terminate()
        log = process.stderr.read()
        assert process.wait(10) == 0
    assert f"listening on http://127.0.0.1:{port}" in log


# Units


@pytest.fixture
def units(tmp_path: Path) -> list[Path]:
    """The units, with a program that is there."""
    folder = tmp_path / "units"
    folder.mkdir()
    for unit in UNITS.glob("*.s[eo]*"):
        text = unit.read_text().replace("/opt/sse-node/bin/sse-node", "/bin/true")
        text = text.replace("file:///opt/sse-node/README.md", "https://example.com/")
        (folder / unit.name).write_text(text)
    return sorted(folder.iterdir())


def test_units_are_valid(units: list[Path]) -> None:
    names = [unit.name for unit in units]
    assert names == [
        "sse-node-bridge@.service",
        "sse-node-webhooks.service",
        "sse-node.service",
        "sse-node.socket",
    ]
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, units)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (verified.returncode, verified.stderr) == (0, "")


@pytest.mark.parametrize(
    "name", ["sse-node.service", "sse-node-bridge@.service", "sse-node-webhooks.service"]
)
def test_units_are_sandboxed(name: str) -> None:
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=20", UNITS / name],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert judged.returncode == 0, judged.stdout


def directives(name: str) -> list[tuple[str, str]]:
    lines = (UNITS / name).read_text().splitlines()
    return [(key, value) for key, _, value in (line.partition("=") for line in lines) if value]


def members_of(group: str) -> set[str]:
    """Return the system calls of a group, those of the groups in it too."""
    shown = subprocess.run(
        ["systemd-analyze", "syscall-filter", "--no-pager", group],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    calls: set[str] = set()
    for word in re.findall(r"^    (\S+)$", shown.stdout, re.MULTILINE):
        calls |= members_of(word) if word.startswith("@") else {word}
    return calls


def allowed_calls() -> set[str]:
    allowed: set[str] = set()
    for key, value in directives("sse-node.service"):
        if key != "SystemCallFilter":
            continue
        for word in value.removeprefix("~").split():
            calls = members_of(word) if word.startswith("@") else {word}
            allowed = allowed - calls if value.startswith("~") else allowed | calls
    return allowed


def test_the_allowed_system_calls_suffice(redis: RedisProcess, tmp_path: Path) -> None:
    """What two workers call in their life, start, streams, reload and drain, is in the filter."""
    trace = tmp_path / "trace"
    key = tmp_path / "secret.txt"
    key.write_bytes(SECRET)
    bearer = {"Authorization": f"Bearer {signer('HS256').token('ann')}"}

    class TracedNode(NodeProcess):
        command = (
            "strace", "-f", "-qq", "--signal=none", "-e", "abbrev=all", "-o", str(trace),
            *NodeProcess.command,
        )  # fmt: skip

    flags = (
        "--workers", "2", "--drain-delay", "0.1", "--auth", "jwt", "--jwt-key", str(key),
        "--admin-uds", str(tmp_path / "admin.sock"),
    )  # fmt: skip
    with TracedNode("--redis-url", redis.url, *flags) as node:
        node.wait_ready(60)
        with (
            client_of(node) as http,
            StreamClient(node.url, "/events/sse/ann", bearer) as stream,
        ):
            stream.wait_open()
            assert http.get("/accounts").status_code == 401
        node.send_signal(signal.SIGHUP)  # strace passes it on to nobody: the node gets it below
        supervisor = int(trace.read_text().split()[0])
        since = len(node.log)
        os.kill(supervisor, signal.SIGHUP)
        node.wait_for_log(r"worker 2 \(pid \d+\) serves", 60, since=since)
        os.kill(supervisor, signal.SIGTERM)
        node.wait(60)
    lines = trace.read_text().splitlines()
    called = {match[1] for line in lines if (match := re.match(r"\d+ +(\w+)\(", line))}
    assert {"socket", "epoll_wait", "execve", "accept4"} & called == {
        "socket", "epoll_wait", "execve", "accept4"
    }  # fmt: skip
    assert called - allowed_calls() == set()


def test_no_memory_is_writable_and_executable(redis: RedisProcess) -> None:
    """MemoryDenyWriteExecute, by the kernel's own switch (prctl(2), PR_SET_MDWE)."""

    class DeniedNode(NodeProcess):
        command = (
            sys.executable, "-c",
            "import ctypes, os, sys; libc = ctypes.CDLL(None, use_errno=True); "
            "sys.exit('no PR_SET_MDWE') if libc.prctl(65, 1, 0, 0, 0) else None; "
            "os.execv(sys.argv[1], sys.argv[1:])",
            *NodeProcess.command,
        )  # fmt: skip

    with DeniedNode("--redis-url", redis.url, "--workers", "2") as node:
        node.wait_ready()
        with StreamClient(node.url) as stream:
            stream.wait_open()
        wait_until(lambda: len(node.worker_pids()) == 2, "both run")
        assert node.terminate() == 0

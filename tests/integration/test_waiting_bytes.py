"""What waits for clients that do not read, or do not finish, is bounded; then memory returns."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.support.load import request_bytes
from tests.support.nodes import read_metrics, rss_bytes, wait_until
from tests.support.stream_client import StreamClient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.harness import NodeProcess, RedisProcess
    from tests.support.nodes import StartNode

pytestmark = pytest.mark.integration

MIB = 1024 * 1024
LIMIT_BYTES = 32 * MIB
CROWD = 900
# Replies of Redis and answers that are being made, and what the node has not used before.
WORKING_BYTES = 40 * MIB


class Crowd:
    """Connections over a unix socket, whose kernel buffers are small and the same everywhere."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._sockets: list[socket.socket] = []

    def send(self, count: int, data: bytes) -> None:
        """Send the same bytes on new connections, and read nothing."""
        for _ in range(count):
            connection = socket.socket(socket.AF_UNIX)
            self._sockets.append(connection)
            connection.settimeout(10)
            connection.connect(self._path)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it was cut
                connection.sendall(data)

    def leave(self) -> None:
        """Close all connections."""
        for connection in self._sockets:
            connection.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "node.sock"


@pytest.fixture
def node(path: Path, start_node: StartNode, redis: RedisProcess) -> NodeProcess:
    flags = ("--uds", str(path), "--http-limit-total", str(LIMIT_BYTES), "--ping-interval", "0.5")
    return start_node(*flags, redis=redis)


@pytest.fixture
def http(path: Path, node: NodeProcess) -> Iterator[httpx.Client]:
    transport = httpx.HTTPTransport(uds=str(path))
    with httpx.Client(transport=transport, base_url="http://node", timeout=10) as client:
        yield client


@pytest.fixture
def crowd(path: Path, node: NodeProcess) -> Iterator[Crowd]:
    crowd = Crowd(path)
    yield crowd
    crowd.leave()


@pytest.fixture
def stream(node: NodeProcess, http: httpx.Client) -> Iterator[StreamClient]:
    """A stream that is open from the beginning to the end."""
    with StreamClient(node.address) as stream:
        stream.wait_open()
        yield stream
        event = {"userId": "123", "eventType": "still.open", "data": 1}
        assert http.post("/events", json=event).status_code == 202
        stream.wait_for_type("still.open")


def cut(http: httpx.Client) -> float:
    return read_metrics(http)["sse_node_http_connections_cut_total", ""]


def test_answers_that_nobody_reads(
    http: httpx.Client, node: NodeProcess, crowd: Crowd, stream: StreamClient
) -> None:
    for _ in range(400):
        account = {"name": "😀" * 256, "balance": 1, "userId": "unread"}
        http.post("/accounts", json=account).raise_for_status()
    target = "/accounts?userId=unread&limit=1000"
    assert len(http.get(target).content) > 400_000
    before = rss_bytes(node)
    peaks = []

    def are_cut() -> bool:
        peaks.append(rss_bytes(node))
        return cut(http) >= 50

    crowd.send(200, request_bytes("GET", target) * 5)
    wait_until(are_cut, "connections are closed over the limit", 30)
    assert read_metrics(http)["sse_node_http_waiting_bytes", ""] <= LIMIT_BYTES
    assert max(peaks) - before < LIMIT_BYTES + WORKING_BYTES
    crowd.leave()
    wait_until(lambda: rss_bytes(node) - before < 12 * MIB, "the memory is back")
    assert read_metrics(http)["sse_node_http_waiting_bytes", ""] == 0


def test_the_page_is_in_memory_once(
    http: httpx.Client, node: NodeProcess, crowd: Crowd, stream: StreamClient
) -> None:
    before = rss_bytes(node)
    page = len(http.get("/").content)
    assert page * CROWD > 24 * MIB
    crowd.send(CROWD, request_bytes("GET", "/") * 20)  # more than the kernel takes
    metric = "sse_node_http_waiting_bytes", ""
    # A part of one page on each connection: the kernel's buffers decide how large it is.
    wait_until(lambda: read_metrics(http)[metric] > CROWD * 100, "pages wait to be read", 30)
    assert rss_bytes(node) - before < 12 * MIB


def test_requests_that_are_never_finished(
    http: httpx.Client, node: NodeProcess, crowd: Crowd, stream: StreamClient
) -> None:
    before = rss_bytes(node)
    request = request_bytes("POST", "/events", b"x" * MIB)
    crowd.send(150, request[:-1])
    wait_until(lambda: cut(http) >= 100, "connections are closed over the limit", 30)
    assert rss_bytes(node) - before < LIMIT_BYTES + WORKING_BYTES
    event = {"userId": "a", "eventType": "t", "data": "x" * 100_000}
    assert http.post("/events", json=event).status_code == 202
    crowd.leave()
    wait_until(lambda: rss_bytes(node) - before < 12 * MIB, "the memory is back")

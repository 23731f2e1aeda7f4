"""The listener of operators: what it has, and that nothing else is there."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from typing import TYPE_CHECKING

import pytest

from bench.harness.addresses import free_port
from sse_node.config.reading import read_settings
from sse_node.node.admin import AdminListener
from sse_node.node.composition import Node
from sse_node.node.listening import make_admin_listener
from sse_node.node.server import Server
from tests.support.responses import Reply, read_replies

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path


class Process:
    """A node without Redis, and its admin listener on a Unix socket."""

    def __init__(self, path: Path, **flags: str) -> None:
        self.path = str(path)
        settings = read_settings({"server_id": "node-1", "admin_uds": self.path, **flags}, {})
        self.node = Node(settings, "unix:///nowhere/redis.sock")
        self.listener = AdminListener(self.node.admin_site, settings.access)

    async def ask(self, method: str, target: str, *fields: str, content: str = "") -> Reply:
        reader, writer = await asyncio.open_unix_connection(self.path)
        if content:
            fields = (
                *fields, "Content-Type: application/json", f"Content-Length: {len(content)}"
            )  # fmt: skip
        lines = [f"{method} {target} HTTP/1.1", "Host: localhost", "Connection: close", *fields]
        writer.write("\r\n".join([*lines, "", content]).encode())
        data = await reader.read()
        writer.close()
        await writer.wait_closed()
        [reply] = read_replies(data, [method], closed=True)
        return reply


@pytest.fixture
async def make_process(tmp_path: Path) -> AsyncIterator[Callable[..., Process]]:
    made: list[Process] = []

    def make(**flags: str) -> Process:
        made.append(Process(tmp_path / "admin.sock", **flags))
        return made[-1]

    yield make
    for process in made:
        process.listener.shutdown()
        await process.node.commands.shutdown()
        await process.node.job_reader.shutdown()


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/metrics", 200),
        ("HEAD", "/metrics", 200),
        ("GET", "/status", 200),
        ("GET", "/health", 200),
        ("GET", "/health/live", 200),
        ("GET", "/health/ready", 503),
        ("POST", "/metrics", 405),
        ("OPTIONS", "/revocations", 204),
        ("GET", "/", 404),
        ("GET", "/events/sse", 404),
        ("GET", "/events/sse/ann", 404),
        ("POST", "/events", 404),
        ("GET", "/accounts", 404),
        ("POST", "/accounts", 404),
        ("GET", "/accounts/1", 404),
        ("DELETE", "/accounts/1", 404),
        ("GET", "/snapshots", 404),
    ],
)
async def test_it_has_what_operators_need_and_no_more(
    make_process: Callable[..., Process], method: str, target: str, status: int
) -> None:
    process = make_process()
    await process.listener.start()
    assert (await process.ask(method, target)).status == status


@pytest.mark.parametrize("origins", ["*", "https://app.example"])
async def test_no_page_may_read_it_or_ask_for_revocations(
    make_process: Callable[..., Process], origins: str
) -> None:
    process = make_process(cors_origin=origins)
    await process.listener.start()
    preflight = ("Origin: https://app.example", "Access-Control-Request-Method: POST")
    for method, target in (("OPTIONS", "/revocations"), ("GET", "/status")):
        headers = (await process.ask(method, target, *preflight)).headers
        assert not any(name.startswith("access-control-") for name in headers)
    content = json.dumps({"user": "ann"})
    reply = await process.ask("POST", "/revocations", "Content-Type: text/plain", content="")
    assert reply.status == 415
    assert (await process.ask("POST", "/revocations", content=content)).status == 503, "no Redis"


async def test_operators_get_in_when_clients_do_not(make_process: Callable[..., Process]) -> None:
    process = make_process()
    process.node._file_limit = 0
    await process.listener.start()
    assert process.node.site.room() < 0
    assert (await process.ask("GET", "/status")).status == 200


async def test_the_socket_and_the_connections_end_with_it(
    make_process: Callable[..., Process], tmp_path: Path
) -> None:
    process = make_process()
    await process.listener.start()
    reader, writer = await asyncio.open_unix_connection(process.path)
    writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    process.listener.shutdown()
    process.listener.shutdown()
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readuntil(b"never")
    writer.close()
    assert not (tmp_path / "admin.sock").exists()


async def test_a_port_of_its_own(make_process: Callable[..., Process]) -> None:
    port = free_port()
    process = make_process(admin_uds="", admin_port=str(port))
    await process.listener.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 200")
    writer.close()


async def test_a_worker_listens_on_the_socket_that_it_inherits(
    make_process: Callable[..., Process], tmp_path: Path
) -> None:
    process = make_process()
    settings = read_settings({"admin_uds": process.path}, {}).access
    with contextlib.ExitStack() as supervisor:
        inherited = make_admin_listener(settings, supervisor)
        assert inherited is not None
        listener = AdminListener(process.node.admin_site, settings, socket.dup(inherited.fileno()))
        await listener.start()
        assert (await process.ask("GET", "/status")).status == 200
        listener.shutdown()
        assert (tmp_path / "admin.sock").exists(), "other workers and the supervisor use it"


async def test_without_a_setting_there_is_none(make_process: Callable[..., Process]) -> None:
    process = make_process(admin_uds="")
    await process.listener.start()
    process.listener.shutdown()


async def test_the_main_listener_has_no_revocations_and_figures_then(tmp_path: Path) -> None:
    flags = {"uds": str(tmp_path / "main.sock"), "admin_uds": str(tmp_path / "admin.sock")}
    server = Server(read_settings(flags, {}), "unix:///nowhere/redis.sock")
    await server.start()
    try:
        for path, status in ((flags["uds"], b"403"), (flags["admin_uds"], b"200")):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(b"GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert (await reader.read()).split()[1] == status
            writer.close()
    finally:
        await server.shutdown()

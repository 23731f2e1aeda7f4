"""Connections that ask the same thing over and over, from one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import defaultdict
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_LENGTH = re.compile(rb"^Content-Length: (\d+)\r$", re.MULTILINE)


def request_bytes(method: str, target: str, content: bytes = b"") -> bytes:
    """Return a request with JSON content."""
    fields = (
        f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n"
    )
    return f"{method} {target} HTTP/1.1\r\n{fields}\r\n".encode() + content


class Load:
    """What looping connections were answered.

    Attributes:
        took_s: how long each answer took, by status.
        heads: of the last answer with each status.
        lost: connections that the server closed.
    """

    def __init__(self) -> None:
        self.took_s: dict[int, list[float]] = defaultdict(list)
        self.heads: dict[int, bytes] = {}
        self.lost = 0
        self.changed = asyncio.Event()
        self.transports: set[asyncio.Transport] = set()

    async def wait_for_answers(self, count: int) -> None:
        """Wait until there are so many answers, whatever their status."""
        while sum(map(len, self.took_s.values())) < count:
            self.changed.clear()
            await self.changed.wait()

    async def wait_for_statuses(self, *statuses: int) -> None:
        """Wait until there is an answer with each of these statuses."""
        while not self.took_s.keys() >= set(statuses):
            self.changed.clear()
            await self.changed.wait()


class _Client(asyncio.Protocol):
    def __init__(self, request: bytes, load: Load) -> None:
        self._request = request
        self._load = load
        self._loop = asyncio.get_running_loop()
        self._asked_s = 0.0
        self._head = b""
        self._missing_bytes = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._load.transports.add(self._transport)
        self._ask()

    def _ask(self) -> None:
        assert self._transport is not None
        self._head = b""
        self._asked_s = self._loop.time()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self._missing_bytes:
            self._head += data
            head, end, content = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            length = _LENGTH.search(head + b"\r\n")
            assert length is not None, head
            self._head, self._missing_bytes, data = head, int(length[1]), content
        self._missing_bytes -= len(data)
        if not self._missing_bytes:
            status = int(self._head[9:12])
            self._load.took_s[status].append(self._loop.time() - self._asked_s)
            self._load.heads[status] = self._head
            self._load.changed.set()
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        assert self._transport is not None
        if self._transport in self._load.transports:
            self._load.transports.discard(self._transport)
            self._load.lost += 1
            self._load.changed.set()


@contextlib.asynccontextmanager
async def a_load(port: int, request: bytes, connections: int = 1) -> AsyncIterator[Load]:
    """Yield what connections to 127.0.0.1 are answered that repeat a request until the end."""
    load = Load()
    loop = asyncio.get_running_loop()
    try:
        await asyncio.gather(
            *(
                loop.create_connection(lambda: _Client(request, load), "127.0.0.1", port)
                for _ in range(connections)
            )
        )
        yield load
    finally:
        transports = list(load.transports)
        load.transports.clear()
        for transport in transports:
            transport.abort()

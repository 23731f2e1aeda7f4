"""Thousands of streams from one event loop: each remembers where it is, and comes back when cut."""

from __future__ import annotations

import asyncio
import contextlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_ID = re.compile(rb"^id: ([0-9-]+)$", re.MULTILINE)
_NUMBER = re.compile(rb'"number":(\d+)')
# Connections that are being made at once, so that the listener's backlog suffices.
_CONNECTING = 1000


@dataclass
class Member:
    """One EventSource of the swarm over all its connections."""

    user: str
    last_event_id: str = ""
    numbers: list[int] = field(default_factory=list)
    opened: int = 0
    resumed: int = 0
    resets: int = 0
    ended_s: list[float] = field(default_factory=list)


class _StreamProtocol(asyncio.Protocol):
    def __init__(self, swarm: Swarm, member: Member) -> None:
        self._swarm = swarm
        self._member = member
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        member = self._member
        resume = f"Last-Event-ID: {member.last_event_id}\r\n" if member.last_event_id else ""
        self._transport.write(
            f"GET /events/sse/{member.user} HTTP/1.1\r\nHost: localhost\r\n{resume}\r\n".encode()
        )
        self._swarm.transports.add(self._transport)

    def data_received(self, data: bytes) -> None:
        *frames, self._received = (self._received + data).split(b"\n\n")
        for frame in frames:
            self._take(frame)
        self._swarm.note_change()

    def _take(self, frame: bytes) -> None:
        member = self._member
        if (event_id := _ID.search(frame)) is not None:
            member.last_event_id = event_id[1].decode()
        if (number := _NUMBER.search(frame)) is not None:
            member.numbers.append(int(number[1]))
        elif b"event: sse.open" in frame:
            member.opened += 1
            member.resumed += b'"resumed":true' in frame
            self._swarm.note_open()
        elif b"event: sse.reset" in frame:
            member.resets += 1

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._swarm.transports.discard(self._transport)
        self._member.ended_s.append(asyncio.get_running_loop().time())
        self._swarm.note_change()
        self._swarm.note_end(self._member)


class Swarm:
    """Streams to one port at a time; `port` may change while they are open.

    Args:
        port: of 127.0.0.1, where streams are opened from now on.
        comes_back: open a stream again when its connection ends.
    """

    def __init__(self, port: int, *, comes_back: bool = False) -> None:
        self.port = port
        self.members: list[Member] = []
        self.transports: set[asyncio.Transport] = set()
        self._comes_back = comes_back
        self._connecting = asyncio.Semaphore(_CONNECTING)
        self._opened = 0
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, members: list[Member]) -> None:
        """Open a stream for each and wait until all have had sse.open."""
        self.members += members
        wanted = self._opened + len(members)
        await asyncio.gather(*map(self._connect, members))
        while self._opened < wanted:
            await self.next_change()

    async def wait_for_opens(self, opened: int) -> None:
        """Wait until so many sse.open have come, all in all."""
        while self._opened < opened:
            await self.next_change()

    async def wait_for_numbers(self, count: int) -> None:
        """Wait until every member has so many numbered events."""
        for member in self.members:
            while len(member.numbers) < count:
                await self.next_change()

    async def next_change(self) -> None:
        """Wait until something comes, or ends."""
        self._changed.clear()
        await self._changed.wait()

    async def _connect(self, member: Member) -> None:
        async with self._connecting:
            loop = asyncio.get_running_loop()
            await loop.create_connection(
                lambda: _StreamProtocol(self, member), "127.0.0.1", self.port
            )

    def note_open(self) -> None:
        """A member has had sse.open."""
        self._opened += 1

    def note_change(self) -> None:
        """Something has come, or ended."""
        self._changed.set()

    def note_end(self, member: Member) -> None:
        """A member's connection is over."""
        if self._comes_back:
            task = asyncio.get_running_loop().create_task(self._connect(member))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End all connections for good."""
        self._comes_back = False
        for transport in list(self.transports):
            transport.abort()
        while self.transports:
            await self.next_change()


@contextlib.asynccontextmanager
async def a_swarm(port: int, *, comes_back: bool = False) -> AsyncIterator[Swarm]:
    """Yield a swarm whose connections end with the block."""
    swarm = Swarm(port, comes_back=comes_back)
    try:
        yield swarm
    finally:
        await swarm.close()

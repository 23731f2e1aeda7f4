"""The clients: each behaves like a browser's EventSource and records everything that it receives.

It reconnects after the reconnection time with its last event ID, whatever ended the connection.
Sometimes it loses its connection by itself, as after a change of networks, and some clients are
away during a whole fault, as in a tunnel.
"""

import asyncio
import contextlib
import random
import socket
from collections.abc import Iterable
from math import inf
from time import monotonic, time
from typing import cast

import msgspec

from bench.chaos.access import CLOSE_WITHIN_S, NO_TOKEN, Access
from bench.chaos.checker import (
    FaultBegan,
    Journal,
    Ledger,
    Note,
    Offence,
    Opened,
    Reset,
    Seen,
    Violation,
    id_of,
)
from bench.chaos.event_source import Frame, MalformedError, StreamReader, parse_frame
from bench.chaos.publisher import CLIENT_HOST

Address = str | tuple[str, int]
"""The path of a unix socket, or host and port."""

# Before a stream sends `retry`; browsers wait for 3 s. Shorter, to keep runs short.
_FIRST_RETRY_S = 0.5
_CONNECT_TIMEOUT_S = 10.0  # arbitrary: on loopback, more is a hang
_MEAN_STAY_S = 15.0  # arbitrary: after which a client loses its connection by itself
_RECEIVE_BUFFER_BYTES = 65536  # small, so that the node soon notices a client that stops reading


class Watcher:
    """One EventSource; lives as long as the run."""

    def __init__(self, name: str, user: str, address: Address, crowd: "Watchers") -> None:
        """Take its user and where it connects to."""
        self.journal = Journal(name, user)
        self.connections = 0
        self.events = 0
        self.newest_sent_at = self.newest_seen_at = float("-inf")
        """When its newest event was first sent, and when it was seen."""
        self.strayed = False
        """Whether it lost its connection by itself since its last event."""
        self._address = address
        self._crowd = crowd
        self._foreign: set[int] = set()
        self._position: int | None = None
        self.token = NO_TOKEN
        """Of the present connection, or the last one."""
        self._retry_s = _FIRST_RETRY_S
        self._connection: _Connection | None = None
        self._reads = True
        self._reachable = asyncio.Event()
        self._reachable.set()

    def __repr__(self) -> str:
        return self.journal.name

    @property
    def is_open(self) -> bool:
        """Whether a stream is open at the moment."""
        return self._connection is not None and self._connection.reader.is_event_stream

    def describe(self) -> str:
        """Return its state, for people."""
        if self._connection is None:
            state = f"not connected, {self._retry_s:g} s between attempts"
        else:
            reader = self._connection.reader
            state = f"connected, status {reader.status or 'not yet there'}"
        last = self.journal.notes[-1] if self.journal.notes else "nothing"
        return f"{self} ({state}, {self.connections} connections, last saw {last})"

    async def run(self) -> None:
        """Connect, and connect again, until cancelled."""
        while True:
            with contextlib.suppress(OSError):  # TimeoutError is one
                await self._connect()
            await asyncio.sleep(self._retry_s)
            await self._reachable.wait()

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        stay = loop.call_later(random.expovariate(1 / _MEAN_STAY_S), self._stray)
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                connected = await _connected_socket(self._address)
                _, connection = await loop.create_connection(
                    lambda: _Connection(self), sock=connected
                )
            self._connection = connection
            self.connections += 1
            connection.open(self._request())
            connection.set_reads(self._reads)
            await connection.closed
            self._on_closed(connection.reader)
        finally:
            stay.cancel()
            if self._connection is not None:
                self._connection.abort()
                self._connection = None

    def _request(self) -> bytes:
        position = "" if self._position is None else f"Last-Event-ID: {id_of(self._position)}\r\n"
        if self._crowd.access is not None:
            self.token = self._crowd.access.token_for(self.journal.user)
            position += f"Authorization: Bearer {self.token.text}\r\n"
        return (
            f"GET /events/sse/{self.journal.user} HTTP/1.1\r\nHost: localhost\r\n"
            f"Accept: text/event-stream\r\nCache-Control: no-store\r\n{position}\r\n"
        ).encode()

    def _stray(self) -> None:
        if self._connection is not None and self._reads:
            self.strayed = True
            self._connection.abort()

    def go_away(self) -> None:
        """Close the connection and stay away until `come_back`."""
        self._reachable.clear()
        self._stray()

    def come_back(self) -> None:
        """Connect again."""
        self.strayed = True
        self._reachable.set()

    def _on_closed(self, reader: StreamReader) -> None:
        # A page gets a new token for 401; a revoked one is rejected from then on.
        may_be_rejected = reader.status == 401 and self.token.expires_s <= time() + 1
        if reader.status and not reader.is_event_stream and not may_be_rejected:
            self.offend(
                Violation.GIVEN_UP, f"a browser gives up on {reader.status} {reader.content_type}"
            )

    def stop_reading(self) -> None:
        """Stop reading, so that data stays in the kernel's buffers."""
        self._set_reads(False)

    def resume_reading(self) -> None:
        """Continue to read."""
        self._set_reads(True)

    def _set_reads(self, reads: bool) -> None:
        self._reads = reads
        if self._connection is not None:
            self._connection.set_reads(reads)

    def offend(self, violation: Violation, detail: str) -> None:
        """Record a violation."""
        self.note(Offence(violation, detail))

    def note(self, note: Note) -> None:
        """Write into the journal."""
        self.journal.notes.append(note)

    def end_access(self, token_id: str) -> None:
        """A token has been revoked; the present connection may have another one by now."""
        if self.token.token_id == token_id:
            self.token = msgspec.structs.replace(
                self.token, expires_s=min(self.token.expires_s, time())
            )

    def dispatch(self, frame: Frame) -> None:
        """Process one frame, as EventSource does."""
        now = monotonic()
        if frame.retry_ms is not None:
            self._retry_s = frame.retry_ms / 1000
        if frame.position is not None:
            self._position = frame.position
        if frame.seen is not None:
            if frame.user != self.journal.user:
                self.offend(Violation.MALFORMED, f"an event of {frame.user}")
            self.events += 1
            self._check_access(frame, self._crowd.sent_at(self.journal.user, frame.seen))
            self.note(frame.seen)
            self._crowd.on_seen(self, frame.seen, now)
        elif frame.foreign is not None:
            if frame.foreign in self._foreign or frame.user != self.journal.user:
                self.offend(Violation.DUPLICATE, f"foreign event {frame.foreign} of {frame.user}")
            self._foreign.add(frame.foreign)
            self._crowd.foreign += 1
        elif frame.event == "sse.closed" and self._crowd.access is not None:
            self._crowd.ended += 1
        elif frame.event == "sse.open" and frame.position is not None:
            self.note(Opened(frame.position, now))
        elif frame.event == "sse.reset" and frame.position is not None:
            self.note(Reset(frame.position, now, frame.data.decode()))
            self._crowd.resets += 1
        elif frame.data and not (frame.event == "ping" and frame.position is None):
            self.offend(Violation.MALFORMED, f"event {frame.event!r} with {frame.data[:200]!r}")

    def _check_access(self, frame: Frame, sent_at: float) -> None:
        # By when it was sent: old bytes may wait for long in nginx and in the kernels.
        if time() - monotonic() + sent_at > self.token.expires_s + CLOSE_WITHIN_S:
            self.offend(Violation.NO_ACCESS, f"{frame.data[:200]!r} after the end of access")


class _Connection(asyncio.Protocol):
    """One connection of a watcher."""

    def __init__(self, watcher: Watcher) -> None:
        self.reader = StreamReader()
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watcher = watcher
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            for block in self.reader.feed(data):
                self._watcher.dispatch(parse_frame(block))
            if self.reader.is_complete:
                self.abort()
        except MalformedError as exc:
            self._watcher.offend(Violation.MALFORMED, str(exc))
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)

    def open(self, request: bytes) -> None:
        """Send the request, unless the connection is already gone."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(request)

    def set_reads(self, reads: bool) -> None:
        """Continue or stop reading."""
        if self._transport is None or self._transport.is_closing():
            return
        if reads and not self._transport.is_reading():
            self._transport.resume_reading()
        elif not reads and self._transport.is_reading():
            self._transport.pause_reading()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


async def _connected_socket(address: Address) -> socket.socket:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    made = socket.socket(family)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        if family == socket.AF_INET:
            made.bind((CLIENT_HOST, 0))
        await asyncio.get_running_loop().sock_connect(made, address)
    except BaseException:
        made.close()
        raise
    return made


class Freshness:
    """Waits until every stream has seen an event first sent at or after a time."""

    def __init__(self, watchers: Iterable[Watcher], since: float) -> None:
        """Begin to wait."""
        self.waiting = set(watchers)
        self.done = asyncio.Event()
        self.recovered_s = 0.0
        """The time until the last of them had its event, without those that strayed."""
        self._since = since
        for watcher in list(self.waiting):
            self.look_at(watcher)
        self._look_for_end()

    def look_at(self, watcher: Watcher) -> None:
        """Check whether a watcher has its event."""
        if watcher in self.waiting and watcher.newest_sent_at >= self._since:
            self.waiting.discard(watcher)
            if not watcher.strayed:
                self.recovered_s = max(self.recovered_s, watcher.newest_seen_at - self._since)
            self._look_for_end()

    def _look_for_end(self) -> None:
        if not self.waiting:
            self.done.set()


class Watchers:
    """All clients of a run, on one event loop."""

    def __init__(self, ledger: Ledger, label: str = "", access: Access | None = None) -> None:
        """Begin with none; the label names them in the report."""
        self.all: list[Watcher] = []
        self.access = access
        self.resets = 0
        self.foreign = 0
        """Events of other programs that they have seen."""
        self.ended = 0
        """Streams that ended with `sse.closed`."""
        self._label = label
        self._ledger = ledger
        self._freshness: Freshness | None = None

    def add(self, user: str, address: Address) -> None:
        """Add a client."""
        self.all.append(
            Watcher(f"{self._label}stream {len(self.all)} of {user}", user, address, self)
        )

    async def run(self) -> None:
        """Run all clients until cancelled."""
        async with asyncio.TaskGroup() as clients:
            for watcher in self.all:
                clients.create_task(watcher.run())

    def begin_fault(self, number: int) -> None:
        """Record in every journal that a fault begins."""
        for watcher in self.all:
            watcher.note(FaultBegan(number))

    def on_seen(self, watcher: Watcher, seen: Seen, now: float) -> None:
        """Called by each watcher with each event."""
        sent_at = self._ledger.sent_at[watcher.journal.user]
        if seen.number < len(sent_at):
            watcher.newest_sent_at, watcher.newest_seen_at = sent_at[seen.number], now
        if self._freshness is not None:
            self._freshness.look_at(watcher)
        watcher.strayed = False

    def sent_at(self, user: str, seen: Seen) -> float:
        """Return when an event of a user was first sent, on the monotonic clock."""
        sent_at = self._ledger.sent_at.get(user, [])  # a stray number has no entry
        return sent_at[seen.number] if seen.number < len(sent_at) else -inf

    async def wait_fresh(
        self, watchers: Iterable[Watcher], since: float, timeout_s: float
    ) -> tuple[float, list[Watcher]]:
        """Wait until these streams have seen an event first sent at `since` or later.

        Returns the time until the last of them had it, and the streams that timed out.
        """
        freshness = self._freshness = Freshness(watchers, since)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(freshness.done.wait(), timeout_s)
        self._freshness = None
        return freshness.recovered_s, sorted(freshness.waiting, key=repr)

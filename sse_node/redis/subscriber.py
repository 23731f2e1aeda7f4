"""One Redis connection in subscriber mode (RESP2), from its handshake to its end.

Parsing is hiredis'. A peer that is silent for two PING intervals is given up: with nothing else to
say on a quiet channel, silence could otherwise pass for quiet.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import hiredis

from sse_node.errors import RedisError
from sse_node.lifetimes.periodic import Periodic
from sse_node.redis.address import RedisAddress
from sse_node.wire.resp import (
    MESSAGE,
    NAME_COMMAND,
    SUBSCRIBE,
    encode_command,
    is_unavailable,
)

# A server that lives sends more all the time. Arbitrary.
_READ_OUT_S: Final = 0.25

Message = list[bytes]


class RedisSubscriberConnection(asyncio.Protocol):
    """A connection that subscribes and then hands every read's messages on as one batch.

    Made by the link for each attempt; `subscribed` is done when all channels are confirmed, fails
    when the server refuses; `closed` is done when the connection is over; its result is the reason.

    Args:
        address: for the credentials and the database.
        name: what CLIENT LIST shows.
        channels: to subscribe to, at least one.
        on_batch: called with the messages of one read, `[b"message", channel, payload]` each; must
            neither raise nor block.
        ping_interval_s: time between PINGs.
    """

    message_kind = MESSAGE

    def __init__(
        self,
        address: RedisAddress,
        *,
        name: str,
        channels: Sequence[bytes],
        on_batch: Callable[[list[Message]], None],
        ping_interval_s: float,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.subscribed: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[str] = loop.create_future()
        self._address = address
        self._name = name
        self._channels = channels
        self._on_batch = on_batch
        self._ping_interval_s = ping_interval_s
        self._reader = hiredis.Reader()
        self._unconfirmed = len(channels)
        self._unanswered: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._pings = Periodic(ping_interval_s, self._ping)
        self._silent_intervals = 0
        self._reads = 0
        self._failure = ""
        self._ending: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the whole handshake at once; Redis answers in order."""
        self._transport = cast(asyncio.Transport, transport)  # not a subclass in uvloop
        handshake = self._handshake()
        self._unanswered = [command[0] for command in handshake]
        self._transport.write(b"".join(encode_command(*command) for command in handshake))
        self._pings.start()

    def _handshake(self) -> list[tuple[bytes, ...]]:
        commands = self._address.authentication()
        if self._address.database:
            commands.append((b"SELECT", b"%d" % self._address.database))
        commands.append((*NAME_COMMAND, self._name.encode()))
        if self._channels:
            commands.append((b"SUBSCRIBE", *self._channels))
        return commands

    def data_received(self, data: bytes) -> None:
        """Take every complete message of this read as one batch."""
        self._silent_intervals = 0
        self._reads += 1
        batch: list[Message] = []
        message_kind = self.message_kind
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not False:
                if type(reply) is list and reply and reply[0] == message_kind:
                    batch.append(reply)
                else:
                    self._on_reply(reply)
        except hiredis.ProtocolError as exc:
            self._fail(f"Redis sent what is not RESP: {exc}")
        if batch:
            self._on_batch(batch)

    def _on_reply(self, reply: Any) -> None:  # noqa: ANN401  (any RESP2 value)
        answered = self._unanswered.pop(0) if self._unanswered else b""
        if isinstance(reply, hiredis.ReplyError):
            if answered != NAME_COMMAND[0] or not is_unavailable(str(reply)):
                self._fail(f"Redis refused: {reply}")
        elif isinstance(reply, list) and reply and reply[0] == SUBSCRIBE:
            self._unconfirmed -= 1
            if self._unconfirmed == 0 and not self.subscribed.done():
                self.subscribed.set_result(None)

    def _fail(self, detail: str) -> None:
        self._failure = self._failure or detail
        if not self.subscribed.done():
            self.subscribed.set_exception(RedisError(detail))
        self.abort()

    def _ping(self) -> None:
        if self._silent_intervals >= 2:
            loop = asyncio.get_running_loop()  # after a stall there may be what was not read
            loop.call_soon(loop.call_soon, self._fail_if_silent)
            return
        self._silent_intervals += 1
        self._send_ping()

    def _fail_if_silent(self) -> None:
        if self._silent_intervals >= 2:
            self._fail(f"Redis was silent for {2 * self._ping_interval_s:g} s")

    def _send_ping(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(encode_command(b"PING"))

    def eof_received(self) -> None:
        """Redis has closed the connection."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over."""
        self._pings.shutdown()
        why = f"the connection to Redis broke: {exc}" if exc else "Redis closed the connection"
        if not self.subscribed.done():
            self.subscribed.set_exception(RedisError(why))
        if not self.closed.done():
            self.closed.set_result(self._failure or why)

    async def read_out(self) -> None:
        """Wait until everything that has arrived is read: the next master may not have it."""
        loop = asyncio.get_running_loop()
        end_s, reads = loop.time() + _READ_OUT_S, -1
        while reads != self._reads and loop.time() < end_s:
            reads = self._reads
            for _ in range(2):  # between them the event loop looks for what has arrived
                await asyncio.sleep(0)

    def end(self) -> None:
        """End the connection when everything that has arrived is read."""
        if self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(self._end())

    async def _end(self) -> None:
        await self.read_out()
        self.abort()

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

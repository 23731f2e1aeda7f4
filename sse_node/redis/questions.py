"""A connection that asks a server a few questions, before it is closed or used for other things."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import hiredis

from sse_node.errors import RedisError
from sse_node.wire.resp import encode_command


class Questions(asyncio.Protocol):
    """Sends commands once connected, and collects their replies.

    Args:
        commands: at least one, each with its arguments.

    Attributes:
        replies: of every command in order; fails with RedisError when the server refuses one,
            closes the connection, or sends what is not RESP.
    """

    def __init__(self, commands: Sequence[tuple[bytes, ...]]) -> None:
        self._commands = commands
        self._reader = hiredis.Reader()
        self._received: list[Any] = []
        self.replies: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send all commands; the server answers in order."""
        connected = cast(asyncio.Transport, transport)  # not a subclass in uvloop
        connected.write(b"".join(encode_command(*command) for command in self._commands))

    def data_received(self, data: bytes) -> None:
        """Take the replies that are complete."""
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not False:
                self._received.append(reply)
        except hiredis.ProtocolError as exc:
            self._fail(f"sent what is not RESP: {exc}")
        refusals = [each for each in self._received if isinstance(each, hiredis.ReplyError)]
        if refusals:
            self._fail(f"refused: {refusals[0]}")
        elif len(self._received) >= len(self._commands) and not self.replies.done():
            self.replies.set_result(self._received)

    def eof_received(self) -> None:
        """The server has closed the connection."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over."""
        self._fail(f"closed the connection{f': {exc}' if exc else ''}")

    def _fail(self, detail: str) -> None:
        if not self.replies.done():
            self.replies.set_exception(RedisError(detail))

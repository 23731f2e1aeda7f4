"""One Redis connection that is subscribed to the channels of shards, by sharded Pub/Sub.

Each shard is subscribed by a command of its own, because a command may name one slot only. A server
answers MOVED for a shard that it does not have, and takes a subscription back when the shard leaves
it: both concern this shard alone, and the connection goes on.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import hiredis

from sse_node.redis.address import RedisAddress
from sse_node.redis.subscriber import Message, RedisSubscriberConnection
from sse_node.wire.resp import (
    NAME_COMMAND,
    SHARD_MESSAGE,
    SHARD_SUBSCRIBE,
    SHARD_UNSUBSCRIBE,
    encode_command,
    is_unavailable,
)


@dataclass(slots=True, eq=False)
class ShardChannels:
    """The channels of one shard, and what is called when their subscription changes.

    Attributes:
        names: with their prefix, at least one; all in one slot.
        on_subscribed: all are confirmed.
        on_lost: they are not subscribed any more, or were refused, with the server's words.
    """

    names: Sequence[bytes]
    on_subscribed: Callable[[], None]
    on_lost: Callable[[str], None]


@dataclass(slots=True, eq=False)
class _Leave:
    """Channels whose end the server has yet to confirm."""

    names: set[bytes]


class ShardSubscriberConnection(RedisSubscriberConnection):
    """A connection for the shards of one server.

    Made by the link for each attempt; `subscribed` is done when the handshake is: from then on
    `subscribe` may be called.

    Args:
        address: of the server.
        name: what CLIENT LIST shows.
        on_batch: called with the messages of one read; must neither raise nor block.
        ping_interval_s: time between PINGs.
    """

    message_kind = SHARD_MESSAGE

    def __init__(
        self,
        address: RedisAddress,
        *,
        name: str,
        on_batch: Callable[[list[Message]], None],
        ping_interval_s: float,
    ) -> None:
        super().__init__(
            address, name=name, channels=(), on_batch=on_batch, ping_interval_s=ping_interval_s
        )
        # What the server has yet to answer, in order: a command's name, a shard, or one to leave.
        self._asked: deque[bytes | ShardChannels | _Leave] = deque()
        self._confirmed = 0  # channels of the first shard among these
        self._shards: dict[bytes, ShardChannels] = {}

    def _handshake(self) -> list[tuple[bytes, ...]]:
        commands = super()._handshake()
        self._asked.extend(command[0] for command in commands)
        return commands

    def subscribe(self, shard: ShardChannels) -> None:
        """Subscribe to the channels of a shard."""
        self._write(shard, b"SSUBSCRIBE", *shard.names)

    def unsubscribe(self, names: Sequence[bytes]) -> None:
        """Unsubscribe from the channels of a shard; nothing is called."""
        for name in names:
            self._shards.pop(name, None)
        self._write(_Leave(set(names)), b"SUNSUBSCRIBE", *names)

    def _write(self, asked: "bytes | ShardChannels | _Leave", *command: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._asked.append(asked)
            self._transport.write(encode_command(*command))

    def _send_ping(self) -> None:
        self._write(b"PING", b"PING")

    def _on_reply(self, reply: Any) -> None:  # noqa: ANN401  (any RESP2 value)
        kind = reply[0] if isinstance(reply, list) and reply else b""
        if kind == SHARD_SUBSCRIBE:
            self._on_confirmed()
        elif kind == SHARD_UNSUBSCRIBE:
            self._on_unsubscribed(reply[1])
        elif self._asked:
            self._on_answer(self._asked.popleft(), reply)

    def _on_confirmed(self) -> None:
        shard = self._asked[0] if self._asked else None
        if not isinstance(shard, ShardChannels):
            self._fail("Redis confirmed what was not subscribed to")
            return
        self._confirmed += 1
        if self._confirmed == len(shard.names):
            self._confirmed = 0
            self._asked.popleft()
            self._shards.update(dict.fromkeys(shard.names, shard))
            shard.on_subscribed()

    def _on_unsubscribed(self, channel: bytes) -> None:
        shard = self._shards.get(channel)
        if shard is None:  # as asked for, or another channel of a shard that is known to be lost
            first = self._asked[0] if self._asked else None
            if isinstance(first, _Leave):
                first.names.discard(channel)
                if not first.names:
                    self._asked.popleft()
            return
        for name in shard.names:
            self._shards.pop(name, None)
        shard.on_lost("the server does not have this shard any more")

    def _on_answer(self, asked: "bytes | ShardChannels | _Leave", reply: Any) -> None:  # noqa: ANN401
        if isinstance(asked, ShardChannels):
            asked.on_lost(str(reply))
        elif isinstance(asked, _Leave):  # the shard had left before
            return
        elif isinstance(reply, hiredis.ReplyError) and not (
            asked == NAME_COMMAND[0] and is_unavailable(str(reply))
        ):
            self._fail(f"Redis refused: {reply}")
        elif asked == NAME_COMMAND[0] and not self.subscribed.done():
            self.subscribed.set_result(None)

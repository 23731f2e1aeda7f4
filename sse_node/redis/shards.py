"""ALL SHARDS of a node, in order: which one a stream belongs to, and how they are together."""

import asyncio
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from sse_node.config.sections import Settings
from sse_node.delivery.hub import Hub
from sse_node.errors import PublisherError
from sse_node.redis.connections import Connections
from sse_node.redis.event_logs import EventLogs, make_log
from sse_node.redis.keys import Keys
from sse_node.redis.shard import Shard, ShardOwner
from sse_node.redis.subscriber import Message
from sse_node.wire.envelope import USER_EVENTS, decode_envelope, user_of
from sse_node.wire.sharding import shard_of

_LOOK_S = 0.2  # at the start of a node, for shards that are known to be away


class Shards:
    """All shards of a node, in order; lives as long as the node.

    Args:
        shards: 1, 2, 4, … 64 of them.

    Attributes:
        logs: of the shards.
    """

    def __init__(self, shards: Sequence[Shard]) -> None:
        self._shards = shards
        self._only = shards[0] if len(shards) == 1 else None
        self.logs = EventLogs([shard.log for shard in shards])

    def __len__(self) -> int:
        return len(self._shards)

    def __iter__(self) -> Iterator[Shard]:
        return iter(self._shards)

    def of(self, audience: str) -> Shard:
        """Return the shard of a user, or of a stream whose first audience is a channel."""
        return self._only or self._shards[shard_of(audience, len(self._shards))]

    def hub_of(self, audience: str) -> Hub:
        """Return where streams with this first audience are registered."""
        return (self._only or self.of(audience)).hub

    @property
    def connected_users(self) -> int:
        """Users with a stream."""
        return sum(shard.hub.connected_users for shard in self._shards)

    def users(self) -> Iterator[str]:
        """Iterate over the users that have a stream."""
        return chain.from_iterable(shard.hub.users() for shard in self._shards)

    @property
    def usable(self) -> bool:
        """Whether all shards are, but those that are known to be away while others are not."""
        usable = [shard.usable for shard in self._shards]
        return any(usable) and all(
            is_usable or shard.is_away
            for shard, is_usable in zip(self._shards, usable, strict=True)
        )

    def look(self) -> None:
        """End subscriptions that no stream needs; called every second."""
        for shard in self._shards:
            shard.look()

    def figures(self) -> dict[str, Any]:
        """Return what an operator sees of several shards; nothing of a single one."""
        if len(self._shards) == 1:
            return {}
        away = [shard.number for shard in self._shards if not shard.usable]
        return {"shards": len(self._shards), "shardsAway": away}

    async def wait_usable(self) -> None:
        """Wait until they are."""
        waiting = {asyncio.ensure_future(shard.wait_usable()) for shard in self._shards}
        try:
            while not self.usable:
                _, waiting = await asyncio.wait(waiting, timeout=_LOOK_S)
        finally:
            for each in waiting:
                each.cancel()

    @property
    def are_whole(self) -> bool:
        """Whether no history lacks entries of channels."""
        return all(shard.catch_up.is_whole for shard in self._shards if shard.is_wanted)

    @property
    def are_heard(self) -> bool:
        """Whether all are subscribed to that shall be, and have caught up."""
        return all(shard.link.up.is_set() for shard in self._shards if shard.is_wanted)

    def receive_plain(self, batch: Sequence[Message]) -> None:
        """Deliver what other programs publish without knowing of shards."""
        for message in batch:
            for shard in self._shards_of(message):
                shard.ingest.receive([message])

    def _shards_of(self, message: Message) -> Sequence[Shard]:
        _, channel, payload = message
        if channel != USER_EVENTS:
            return self._shards
        try:
            return [self.of(user_of(decode_envelope(payload, len(payload))))]
        except PublisherError:
            return self._shards[:1]  # it is counted there


def make_shards(
    connections: Connections, keys: Sequence[Keys], settings: Settings, owner: ShardOwner
) -> Shards:
    """Return the shards of a node.

    Args:
        connections: of the node.
        keys: of each shard.
        settings: of the node.
        owner: what they share.
    """
    sharers = len(keys)
    logs = [
        make_log(connections.commands_for(each.log), each, settings.history, sharers)
        for each in keys
    ]
    return Shards(
        [
            Shard(number, log, settings, sharers=sharers, owner=owner)
            for number, log in enumerate(logs)
        ]
    )

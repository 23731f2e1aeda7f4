"""The event logs of all shards: whose events are in which, and publishing to several of them.

A user's events, accounts and snapshots are in the user's shard. An event of a channel is in the log
of every shard, because a stream reads one log. Without shards there is one log, and nothing here
asks for a user's hash.
"""

import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from sse_node.config.sections import HistorySettings
from sse_node.errors import RedisError, RequestError
from sse_node.redis.commands import RedisCommands
from sse_node.redis.connections import Connections
from sse_node.redis.event_log import IDEMPOTENCY_KEEP_MS, EventLog
from sse_node.redis.keys import Keys, shard_keys
from sse_node.redis.shard_count import read_shard_count
from sse_node.wire.sharding import shard_of

# Parts of all requests that span shards, published at once: they share the connections with others.
_PARTS_AT_ONCE: Final = 4


class Publication(NamedTuple):
    """An event to publish.

    Attributes:
        user: whose it is; empty for one of a channel.
        channel: the plain name of the Redis channel, or `volatile` of it.
        payload: without an id.
    """

    user: str
    channel: str
    payload: bytes


class EventLogs:
    """The logs of a deployment, in the order of the shards; lives as long as the process.

    Args:
        logs: 1, 2, 4, … 64 of them.

    Attributes:
        reads: the lane of requests that read.
        writes: the lane of requests that write.
    """

    def __init__(self, logs: Sequence[EventLog]) -> None:
        self._logs = logs
        self.reads = logs[0].commands.reads
        self.writes = logs[0].commands.writes
        self._parts = asyncio.Semaphore(_PARTS_AT_ONCE)

    def __len__(self) -> int:
        return len(self._logs)

    def __iter__(self) -> Iterator[EventLog]:
        return iter(self._logs)

    def __getitem__(self, shard: int) -> EventLog:
        return self._logs[shard]

    def of_user(self, user: str) -> EventLog:
        """Return the log of a user's events."""
        return self._logs[self.shard_of(user)]

    def shard_of(self, user: str) -> int:
        """Return the number of a user's shard."""
        return shard_of(user, len(self._logs)) if len(self._logs) > 1 else 0

    def of_account(self, account_id: int) -> EventLog:
        """Return the log of an account's owner: the id says which."""
        return self._logs[account_id % len(self._logs)]

    async def find_account(self, account_id: int) -> EventLog:
        """Return the log of an account's owner, also if the id is older than the shards.

        Raises:
            RedisError: its shard is away.
        """
        log = self.of_account(account_id)
        if len(self._logs) == 1:
            return log
        moved = await log.commands.execute("HGET", log.keys.moved_accounts, account_id)
        return log if moved is None else self._logs[int(moved)]

    def account_id(self, number: int, user: str) -> int:
        """Return the id of a user's account, which is the shard's `number`th, from 1."""
        return number * len(self._logs) + self.shard_of(user)

    async def publish(self, events: Sequence[Publication], idempotency: str = "") -> list[str]:
        """Publish events: those of each shard in one step, all or none of them, in order.

        Args:
            events: in order.
            idempotency: the name of an idempotency key's record. Each shard has one, so a request
                that is repeated completes what is missing.

        Returns:
            The ids of the events; `NO_ID` for a volatile one. An event of a channel has an id in
            each shard, of which this is the first shard's.

        Raises:
            RedisError: a shard's events have not been published, as far as this node can know.
            RequestError: 422, the key was used with another content.
        """
        if len(self._logs) == 1:
            return await self._logs[0].publish([each[1:] for each in events], idempotency)
        await self.claim(idempotency, repr(events).encode())
        parts = self._parts_of(events)
        if len(parts) == 1:
            log = self._logs[parts[0][0]]
            return await log.publish([each[1:] for each in events], idempotency)
        publishing = [
            self._publish_part(self._logs[shard], [events[each] for each in numbers], idempotency)
            for shard, numbers in parts
        ]
        answers = await asyncio.gather(*publishing, return_exceptions=True)
        ids: dict[int, str] = {}
        # After all of them: a request that fails has done what it could.
        for (_, numbers), answer in zip(reversed(parts), reversed(answers), strict=True):
            if isinstance(answer, BaseException):
                raise answer
            ids.update(zip(numbers, answer, strict=True))
        return [ids[number] for number in range(len(events))]

    def _parts_of(self, events: Sequence[Publication]) -> list[tuple[int, list[int]]]:
        """Return the shards that get events, in order, with the numbers of these."""
        parts: dict[int, list[int]] = {}
        for number, event in enumerate(events):
            shards = [self.shard_of(event.user)] if event.user else range(len(self._logs))
            for shard in shards:
                parts.setdefault(shard, []).append(number)
        return sorted(parts.items())

    async def _publish_part(
        self, log: EventLog, events: list[Publication], idempotency: str
    ) -> list[str]:
        async with self._parts:
            return await log.publish([event[1:] for event in events], idempotency)

    async def claim(self, idempotency: str, content: bytes) -> None:
        """Refuse an idempotency key that was used with another content, in whichever shard.

        Records are per shard, so another content may have no record where it is published. Without
        an answer the key is taken for new: what is repeated is still published once.

        Raises:
            RequestError: 422, it was.
        """
        if not idempotency or len(self._logs) == 1:
            return
        log = self.of_user(idempotency)
        digest = hashlib.sha256(content).hexdigest()
        key = log.keys.idempotency_claim(idempotency)
        command = ("SET", key, digest, "NX", "PX", IDEMPOTENCY_KEEP_MS)
        try:
            if await log.commands.execute(*command):
                return
            found: bytes | None = await log.commands.execute("GET", key)
        except RedisError:
            return
        if found is not None and found != digest.encode():
            detail = "Idempotency-Key: it was used with another content; expected a new key"
            raise RequestError(422, detail)


async def open_logs(connections: Connections, keys: Keys, bounds: HistorySettings) -> EventLogs:
    """Return the logs of a deployment, as many as nodes have said that there are.

    Args:
        connections: of the process.
        keys: of all shards, the namespace's.
        bounds: of all logs together.

    Raises:
        RedisError: Redis is away.
    """
    count = await read_shard_count(connections.commands_for(keys.shards), keys)
    shards = shard_keys(keys, count, in_cluster=connections.address.cluster is not None)
    return EventLogs(
        [make_log(connections.commands_for(each.log), each, bounds, count) for each in shards]
    )


def make_log(
    commands: RedisCommands, keys: Keys, bounds: HistorySettings, sharers: int
) -> EventLog:
    """Return the log of a shard.

    Args:
        commands: to its server.
        keys: of the shard.
        bounds: of all logs together.
        sharers: how many logs there are.
    """
    length, size = (-(-each // sharers) for each in (bounds.log_length, bounds.log_bytes))
    return EventLog(commands, length, keys, size)

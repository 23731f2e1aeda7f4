"""Publishing what comes from a broker, once, however often the broker delivers it.

A source has parts whose records have rising positions: the partitions of a topic. How far each
part has come is kept in Redis, written by the script that publishes, so it is true after any crash
and for any time. Records of a queue have no positions; those with a key are published once in ten
minutes.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

from sse_node.redis.commands import RedisCommands, Script, ScriptArgument
from sse_node.redis.event_log import IDEMPOTENCY_KEEP_MS, EventLog
from sse_node.redis.event_logs import EventLogs
from sse_node.wire.envelope import USER_EVENTS, decode_envelope, user_of

PUBLISH_RECORDS: Final = Script("tell", "log", "publish_records")


class SourceEvent(NamedTuple):
    """An event made of a record.

    Attributes:
        position: of the record in its part; 0 where there are none.
        key: the name of the record's key, as `idempotency_name` returns it; empty for none.
        channel: the plain name of the Redis channel.
        payload: without an id.
    """

    position: int
    key: str
    channel: str
    payload: bytes


class SourceLog:
    """The event log as bridges write to it; lives as long as the bridge.

    Args:
        commands: the bridge's connections to Redis.
        log: the event log.
    """

    def __init__(self, commands: RedisCommands, log: EventLog) -> None:
        self._commands = commands
        self._log = log

    async def publish(
        self, source: str, part: str, last: int, events: Sequence[SourceEvent]
    ) -> int:
        """Append and publish the events of one part, all in one step.

        Args:
            source: names the source for ever.
            part: of the source; empty when its records have no positions.
            last: the position of the last record, which need not have an event.
            events: in order.

        Returns:
            How many were published; the others had been published before.

        Raises:
            RedisError: nothing has been published, as far as this process can know.
        """
        keys = [self._log.keys.log, self._log.keys.source(source)]
        arguments: list[ScriptArgument] = [*self._log.write_arguments(), IDEMPOTENCY_KEEP_MS]
        arguments += (part, last)
        for position, key, channel, payload in events:
            keys += self._log.keys.idempotency_record(key)
            arguments += (position, len(keys) if key else 0, channel, payload)
        published: int = await self._commands.run(PUBLISH_RECORDS, keys, arguments)
        return published

    async def position(self, source: str, part: str) -> int:
        """Return the position of the last record of a part that was published, -1 for none.

        Raises:
            RedisError: Redis is away.
        """
        key = self._log.keys.source(source)
        position: bytes | None = await self._commands.execute("HGET", key, part)
        return int(position) if position is not None else -1


class SourceLogs:
    """The event logs of all shards as bridges write to them; lives as long as the bridge.

    Args:
        open_logs: finds out how many shards there are, once.
    """

    def __init__(self, open_logs: Callable[[], Awaitable[EventLogs]]) -> None:
        self._open_logs = open_logs
        self._logs: EventLogs | None = None

    async def publish(
        self, source: str, part: str, last: int, events: Sequence[SourceEvent]
    ) -> int:
        """Append and publish the events of one part, those of each shard in one step.

        The first shard is the last one to be written, and always is: its position is that of the
        part. A bridge that ends before it begins again there, and the other shards leave out what
        they have.

        Args:
            source: as for `SourceLog.publish`, as are the others.
            part: of the source.
            last: the position of the last record.
            events: in order.

        Returns:
            How many were published, about, if only some of them were published before.

        Raises:
            RedisError: not all of them have been published, as far as this process can know.
        """
        logs = await self._opened()
        if len(logs) == 1:
            return await _of(logs, 0).publish(source, part, last, events)
        shards: dict[int, list[SourceEvent]] = {0: []}
        for event in events:
            for number in _shards_of(event, logs):
                shards.setdefault(number, []).append(event)
        published = 0
        for number in sorted(shards, reverse=True):
            log = _of(logs, number)
            published += await log.publish(source, part, last, shards[number])
        return min(published, len(events))

    async def position(self, source: str, part: str) -> int:
        """Return the position of the last record of a part that was published, -1 for none.

        Raises:
            RedisError: Redis is away.
        """
        return await _of(await self._opened(), 0).position(source, part)

    async def _opened(self) -> EventLogs:
        if self._logs is None:
            self._logs = await self._open_logs()
        return self._logs


def _of(logs: EventLogs, number: int) -> SourceLog:
    return SourceLog(logs[number].commands, logs[number])


def _shards_of(event: SourceEvent, logs: EventLogs) -> Sequence[int]:
    if event.channel != USER_EVENTS.decode():
        return range(len(logs))
    return [logs.shard_of(user_of(decode_envelope(event.payload, len(event.payload))))]

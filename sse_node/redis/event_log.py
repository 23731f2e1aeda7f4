"""The log: the Redis stream that holds every event published through sse-node.

The log is the truth and Pub/Sub the fast path; appending and publishing are one script, so an id
is an event's only if both have happened. Entry fields: `channel` and `payload` (without the id) of
an event, or `mark`, which tells the log's own entries apart from events.

The log has a random name, the name of its only consumer group: it is replicated and deleted with
the log. Payloads carry it beside the id, so that ids of other logs are not mistaken for its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Final

from sse_node.delivery.history import RollbackMark
from sse_node.delivery.hub import channel_audience
from sse_node.errors import PublisherError, RedisError
from sse_node.redis.commands import RedisCommands, Script
from sse_node.redis.keys import Keys, probe_channel
from sse_node.redis.subscriber import Message
from sse_node.wire.envelope import USER_EVENTS, decode_envelope, insert_id, user_of
from sse_node.wire.event_id import format_position, parse_position
from sse_node.wire.resp import MESSAGE

# The mark of the entry that open_log.lua gives an empty log.
START: Final = b"start"
IDEMPOTENCY_KEEP_MS: Final = 10 * 60 * 1000

# A portion of the log: what a slow network (100 Mbit/s) carries in a third of a second.
_PORTION_BYTES: Final = 4 * 1024 * 1024
_FIRST_PORTION: Final = 250
_MAX_PORTION: Final = 1000

_WITHOUT_NAMESPACE: Final = Keys()

PUBLISH: Final = Script("log", "publish")
_OPEN_LOG: Final = Script("log", "open_log")
_PROBE: Final = Script("probe")
_FIND_IDS: Final = Script("find_ids")
_MARK_ROLLBACK: Final = Script("log", "mark_rollback")


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One entry of the log: an event, or a mark.

    Attributes:
        position: its id.
        channel: the plain name of the channel; empty for a mark.
        payload: of the event, without an id.
        mark: `start` or `rollback`; empty for an event.
    """

    position: int
    channel: bytes
    payload: bytes
    mark: bytes = b""

    @property
    def audience(self) -> str:
        """Who the event is for; empty when no event can be made of the entry."""
        if self.mark:
            return ""
        if self.channel != USER_EVENTS:
            return channel_audience(self.channel.decode(errors="replace"))
        try:
            return user_of(decode_envelope(self.payload, len(self.payload)))
        except PublisherError:
            return ""

    def as_message(self, log_name: bytes) -> Message:
        """Return the entry as Pub/Sub would have pushed it."""
        event_id = format_position(self.position)
        return [MESSAGE, self.channel, insert_id(self.payload, event_id, log_name)]


def _entries(reply: Sequence[tuple[bytes, dict[bytes, bytes]]]) -> list[LogEntry]:
    entries = []
    for entry_id, fields in reply:
        position = parse_position(entry_id.decode())
        if position is None:
            raise RedisError(f"Redis answered an entry with id {entry_id!r}")
        entries.append(
            LogEntry(
                position,
                fields.get(b"channel", b""),
                fields.get(b"payload", b"{}"),
                fields.get(b"mark", b""),
            )
        )
    return entries


class EventLog:
    """Publishing to the log and reading it; lives as long as the node.

    Args:
        commands: the node's connections to Redis.
        log_length: entries that the log keeps, about.
        keys: of the node's namespace.

    Attributes:
        keys: as given.
        writes: the lane of requests that write.
        name: of the log, once it has been opened.
        portion: how many entries to read at once, so that they are a few megabytes.
    """

    def __init__(
        self, commands: RedisCommands, log_length: int, keys: Keys = _WITHOUT_NAMESPACE
    ) -> None:
        self.keys = keys
        self._commands = commands
        self.writes = commands.writes
        self._log_length = log_length
        self._clock_offset_ms: int | None = None
        self.name = b""
        self.portion = _FIRST_PORTION

    def write_arguments(self) -> tuple[int, int]:
        """Return the first arguments of every script that writes to the log.

        They are the log's length, and the moment by Redis' clock after which the script must not
        run any more, because this node has given it up.
        """
        if self._clock_offset_ms is None:
            return self._log_length, 0
        not_after_ms = _monotonic_ms() + self._clock_offset_ms + self._commands.timeout_ms
        return self._log_length, not_after_ms

    async def publish(
        self, events: Sequence[tuple[str, bytes]], idempotency_key: str = ""
    ) -> list[str]:
        """Append and publish events, all in one step.

        Args:
            events: (channel's plain name, payload without id) in order.
            idempotency_key: when it was used in the last ten minutes, the ids of that time are
                returned and nothing is published.

        Returns:
            The ids of the events.

        Raises:
            RedisError: nothing has been published, as far as this node can know.
            RequestError: 422, the key was used with another content.
        """
        keys = [self.keys.log, *self.keys.idempotency_record(idempotency_key)]
        arguments: list[str | bytes | int] = [*self.write_arguments(), IDEMPOTENCY_KEEP_MS]
        for channel, payload in events:
            arguments += (channel, payload)
        ids: bytes = await self._commands.run(PUBLISH, keys, arguments)
        return ids.decode().split()

    async def open(self) -> int:
        """Learn the log's name, and return the position of its last entry.

        A log without a name or entries is given them.
        """
        entry_id: bytes
        entry_id, self.name = await self._commands.run(_OPEN_LOG, [self.keys.log], [])
        position = parse_position(entry_id.decode())
        if position is None:
            raise RedisError(f"Redis answered an entry with id {entry_id!r}")
        return position

    async def read_from(self, position: int, count: int) -> list[LogEntry]:
        """Return up to `count` entries in order, beginning with the one at `position`."""
        return await self._read("XRANGE", format_position(position), b"+", count)

    async def read_back(self, before: int | None, count: int) -> list[LogEntry]:
        """Return up to `count` entries, newest first, below a position (None: from the tail)."""
        last = b"+" if before is None else format_position(before - 1)
        return await self._read("XREVRANGE", last, b"-", count)

    async def _read(self, command: str, start: bytes, end: bytes, count: int) -> list[LogEntry]:
        try:
            reply = await self._commands.execute(command, self.keys.log, start, end, "COUNT", count)
        except RedisError:  # perhaps more than comes over the network in time
            self.portion = max(1, self.portion // 4)
            raise
        entries = _entries(reply)
        payload_bytes = sum(len(entry.payload) for entry in entries)
        if entries:
            fitting = _PORTION_BYTES * len(entries) // max(1, payload_bytes)
            self.portion = min(_MAX_PORTION, max(1, fitting), 4 * self.portion)
        return entries

    async def find(self, positions: Sequence[int]) -> tuple[int, set[int]]:
        """Return the position of the log's first entry (0 when empty), and which it holds."""
        reply = await self._commands.run(
            _FIND_IDS, [self.keys.log], [format_position(position) for position in positions]
        )
        first = (parse_position(reply[0].decode()) or 0) if reply[0] else 0
        return first, {
            position for position, held in zip(positions, reply[1:], strict=True) if held
        }

    async def rollback(self) -> RollbackMark:
        """Return the newest mark of a rollback."""
        mark: bytes | None = await self._commands.execute("GET", self.keys.rollback)
        return _rollback_mark(mark) if mark else RollbackMark()

    async def mark_rollback(self, found: RollbackMark, known: RollbackMark) -> RollbackMark:
        """Mark that the log has lost events; return the mark.

        Args:
            found: what `rollback` has just returned. When another node has marked meanwhile, its
                mark is returned.
            known: the newest mark that this node knows of; Redis may have lost it.
        """
        mark: bytes = await self._commands.run(
            _MARK_ROLLBACK, [self.keys.log, self.keys.rollback], [found.number, known.number]
        )
        return _rollback_mark(mark)

    async def probe(self, server_id: str, number: int, position: int) -> tuple[int, bool]:
        """Publish a probe to this node alone.

        Returns:
            The position of the log's last entry (0 when it is empty), and whether the log holds
            the entry at `position`.

        Raises:
            RedisError: Redis is away, or does not take writes.
        """
        asked_ms = _monotonic_ms()
        redis_ms, holds, *tail = await self._commands.run(
            _PROBE,
            [self.keys.log, self.keys.probe(server_id)],
            [
                number,
                self.keys.channel(probe_channel(server_id)),
                format_position(position),
            ],
        )
        self._clock_offset_ms = redis_ms - (asked_ms + _monotonic_ms()) // 2
        return (parse_position(tail[0].decode()) or 0) if tail else 0, bool(holds)


def _rollback_mark(text: bytes) -> RollbackMark:
    number, _, event_id = text.decode().partition(" ")
    return RollbackMark(int(number), parse_position(event_id) or 0)


def _monotonic_ms() -> int:
    return int(monotonic() * 1000)

"""The log: the Redis stream that holds every event published through sse-node.

The log is the truth and Pub/Sub the fast path; appending and publishing are one script, so an id
is an event's only if both have happened. Entry fields: `channel` and `payload` (without the id) of
an event, or `mark`, which tells the log's own entries apart from events.

The log has a random name, the name of a consumer group that nobody reads by: it is replicated and
deleted with the log. Webhooks read by a group of their own. Payloads carry the name beside the id,
so that ids of other logs are not mistaken for its own.

Each event's entry also has `total`, the running total of the payloads' bytes: by it the script
finds, without a scan, what to drop when the log is over its bound in bytes.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sse_node.delivery.history import RollbackMark
from sse_node.delivery.hub import channel_audience
from sse_node.errors import PublisherError, RedisError
from sse_node.redis.commands import NotAfter, RedisCommands, Script, ScriptArgument
from sse_node.redis.former_masters import FormerMasters
from sse_node.redis.keys import Keys, probe_channel
from sse_node.redis.subscriber import Message
from sse_node.wire.envelope import (
    CHANNEL_EVENTS,
    USER_EVENTS,
    channel_of,
    decode_envelope,
    insert_id,
    user_of,
)
from sse_node.wire.event_id import format_position, parse_position
from sse_node.wire.resp import MESSAGE

# The mark of the entry that open_log.lua gives an empty log.
START: Final = b"start"
# The mark of the entry that mark_rollback.lua adds where events may have been lost.
ROLLBACK: Final = b"rollback"
# What the script answers instead of the id of a volatile event.
NO_ID: Final = "-"
IDEMPOTENCY_KEEP_MS: Final = 10 * 60 * 1000
# Where --log-bytes and the script's callers say nothing else; log.lua has it too.
DEFAULT_LOG_BYTES: Final = 1 << 30

# A portion of the log: what a slow network (100 Mbit/s) carries in a third of a second.
_PORTION_BYTES: Final = 4 * 1024 * 1024
_FIRST_PORTION: Final = 250
_MAX_PORTION: Final = 1000

# Ids that publish has returned; a node is given fewer in the time of a failover. Arbitrary.
_REMEMBERED: Final = 1000

_WITHOUT_NAMESPACE: Final = Keys()

PUBLISH: Final = Script("tell", "log", "publish")
_OPEN_LOG: Final = Script("log", "open_log")
_PROBE: Final = Script("tell", "probe")
_FIND_IDS: Final = Script("find_ids")
_MARK_ROLLBACK: Final = Script("log", "ids", "mark_rollback")


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
        """Who the event is for; empty when no event can be made of the entry.

        That is decided as by the fan-out, which counted such an entry when it was published.
        """
        if self.mark or not self.payload.startswith(b"{"):  # the script puts the id behind it
            return ""
        size = len(self.payload)
        try:
            if self.channel == CHANNEL_EVENTS:
                named = decode_envelope(self.payload, size, named=True)
                return channel_audience(channel_of(named))
            envelope = decode_envelope(self.payload, size)
            if self.channel == USER_EVENTS:
                return user_of(envelope)
        except PublisherError:
            return ""
        return channel_audience(self.channel.decode(errors="replace"))

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
        log_bytes: bytes of payloads that the log keeps, about; 0 for no bound.

    Attributes:
        commands: as given.
        keys: as given.
        writes: the lane of requests that write.
        name: of the log, once it has been opened.
        portion: how many entries to read at once, so that they are a few megabytes.
        former_masters: ends the writes of those of this log.
    """

    def __init__(
        self,
        commands: RedisCommands,
        log_length: int,
        keys: Keys = _WITHOUT_NAMESPACE,
        log_bytes: int = DEFAULT_LOG_BYTES,
    ) -> None:
        self.keys = keys
        self.commands = commands
        self.writes = commands.writes
        self._bounds = f"{log_length}:{log_bytes}"
        self.name = b""
        self.portion = _FIRST_PORTION
        self._acknowledged: deque[str] = deque(maxlen=_REMEMBERED)
        self.former_masters = FormerMasters(commands, keys.log)
        commands.before_new_master(self.former_masters.supersede)

    def write_arguments(self) -> tuple[str, NotAfter]:
        """Return the first arguments of every script that writes to the log.

        They are the log's bounds, and the moment after which the script must not run any more,
        because this node has given it up.
        """
        return self._bounds, NotAfter.DEADLINE

    async def publish(
        self, events: Sequence[tuple[str, bytes]], idempotency: str = ""
    ) -> list[str]:
        """Append and publish events, all in one step.

        Args:
            events: (channel's plain name or `volatile` of it, payload without id) in order.
            idempotency: the name of an idempotency key's record. When the key was used in the last
                ten minutes, the ids of that time are returned and nothing is published.

        Returns:
            The ids of the events; `NO_ID` for a volatile one.

        Raises:
            RedisError: nothing has been published, as far as this node can know.
            RequestError: 422, the key was used with another content.
        """
        keys = [self.keys.log, *self.keys.idempotency_record(idempotency)]
        arguments: list[ScriptArgument] = [*self.write_arguments(), IDEMPOTENCY_KEEP_MS]
        for channel, payload in events:
            arguments += (channel, payload)
        reply: bytes = await self.commands.run(PUBLISH, keys, arguments)
        ids = reply.decode().split()
        self._acknowledged += ids
        return ids

    def take_acknowledged(self) -> set[int]:
        """Return the positions that may be lost after a failover, and forget them.

        They are the last ones that `publish` has returned, and the ends of former masters.
        """
        ids = [*self._acknowledged]
        self._acknowledged.clear()
        ends, self.former_masters.ends = self.former_masters.ends, set()
        return {position for each in ids if (position := parse_position(each))} | ends

    async def open(self) -> int:
        """Learn the log's name, and return the position of its last entry.

        A log without a name or entries is given them.
        """
        entry_id: bytes
        entry_id, self.name = await self.commands.run(_OPEN_LOG, [self.keys.log], [])
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
            reply = await self.commands.execute(command, self.keys.log, start, end, "COUNT", count)
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
        reply = await self.commands.run(
            _FIND_IDS, [self.keys.log], [format_position(position) for position in positions]
        )
        first = (parse_position(reply[0].decode()) or 0) if reply[0] else 0
        return first, {
            position for position, held in zip(positions, reply[1:], strict=True) if held
        }

    async def rollback(self) -> RollbackMark:
        """Return the newest mark of a rollback."""
        mark: bytes | None = await self.commands.execute("GET", self.keys.rollback)
        return _rollback_mark(mark) if mark else RollbackMark()

    async def mark_rollback(
        self, found: RollbackMark, known: RollbackMark, reached: int = 0
    ) -> RollbackMark:
        """Mark that the log has lost events; return the mark.

        Args:
            found: what `rollback` has just returned. When another node has marked meanwhile that
                knew as much, its mark is returned.
            known: the newest mark that this node knows of; Redis may have lost it.
            reached: the highest position that this node knows of in what the log has lost.
        """
        mark: bytes = await self.commands.run(
            _MARK_ROLLBACK,
            [self.keys.log, self.keys.rollback],
            [found.number, known.number, format_position(reached)],
        )
        return _rollback_mark(mark)

    async def probe(self, server_id: str, payload: bytes, position: int) -> tuple[int, bool]:
        """Publish a probe with this payload to this node alone.

        Returns:
            The position of the log's last entry (0 when it is empty), and whether the log holds
            the entry at `position`.

        Raises:
            RedisError: Redis is away, or does not take writes.
        """
        holds, *tail = await self.commands.run(
            _PROBE,
            [self.keys.log, self.keys.probe(server_id)],
            [payload, probe_channel(server_id), format_position(position)],
        )
        return (parse_position(tail[0].decode()) or 0) if tail else 0, bool(holds)


def volatile(channel: str) -> str:
    """Return the channel of an event that is published, but not appended to the log."""
    return f"volatile {channel}"


def _rollback_mark(text: bytes) -> RollbackMark:
    number, event_id, *reached = text.decode().split(" ")
    return RollbackMark(
        int(number), parse_position(event_id) or 0, parse_position("".join(reached)) or 0
    )

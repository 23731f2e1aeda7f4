"""Reads the event log by a consumer group, and puts events into the queues of webhooks.

Every process may read; a batch is taken by a script that refuses it until the earlier ones are
done, so that queues are in the order of the log. A batch is acknowledged in the step that queues
its messages; that of a process that has ended is taken over by another one.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from sse_node.errors import RedisError
from sse_node.lifetimes.background_task import BackgroundTask
from sse_node.redis.backoff import Backoff
from sse_node.redis.commands import NotAfter, RedisCommands, Script, ScriptArgument
from sse_node.redis.keys import Keys
from sse_node.webhooks.log_event import Event, event_of
from sse_node.webhooks.message import encode_message
from sse_node.wire.event_id import parse_position

_OPEN: Final = Script("log", "ids", "webhook_group", "open_for_webhooks")
_CLAIM: Final = Script("claim_for_webhooks")
_FIND: Final = Script("find_webhooks")
_DISPATCH: Final = Script("log", "ids", "webhook", "dispatch")
_RECORD_GAP: Final = Script("log", "ids", "webhook", "record_gap")

GROUP: Final = "webhooks"
"""The consumer group; the scripts have its name, too."""
_BLOCK_MS: Final = 1000
_CLAIM_AFTER_MS: Final = 5000
_CLAIM_INTERVAL_S: Final = 1.0
# Entries that are read at once: Redis reads ten in less time than a publication takes. More are
# read while there are more, so that a backlog ends soon.
_FEW_ENTRIES: Final = 10
_MAX_ENTRIES: Final = 500
_PORTION_BYTES: Final = 4 * 1024 * 1024
# Messages that one script queues, and users whose webhooks one script finds: what Redis does in
# about the time of a publication. It serves no other client meanwhile. A large batch is part of a
# backlog and takes about ten scripts of each kind (arbitrary), however long they are.
_FEW_MESSAGES: Final = 4
_FEW_USERS: Final = 10
_STEPS: Final = 10
# After a longer script this many times its duration passes before the next: others are served.
_PAUSE: Final = 2
_EARLIER_PENDING_S: Final = 0.02
# When all has been read the next events gather for this time: at 1,000 events a second the steps of
# a batch, each of which Redis has to serve, are for 25 events instead of one or two.
_GATHER_S: Final = 0.025
_WEBHOOKS_AT_ONCE: Final = 500
_ALL_EVENTS: Final = "*"
_TOO_EARLY: Final = -1  # what dispatch.lua answers

_event_types = msgspec.json.Decoder(list[str])

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Part:
    """What one script does of a batch.

    Attributes:
        done: entries that are done with it.
        deliveries: events and the ids of the webhooks that get them.
    """

    done: list[Event] = field(default_factory=list)
    deliveries: list[tuple[Event, str]] = field(default_factory=list)


_Entry = tuple[bytes, Sequence[bytes]]
Subscriptions = dict[str, list[tuple[str, list[str]]]]
"""The webhooks of users: their ids and event types."""


class Dispatcher:
    """Moves events from the log to queues; lives as long as the process.

    Args:
        commands: for scripts.
        reader: a connection of its own, because waiting for entries blocks for a second.
        keys: of the namespace.
        limits: as `WebhooksSettings.queue_limits`.
        consumer: the name of this process in the group.
        wake: called when webhooks have become due.
        tidy: awaited while nothing is to be read.

    Attributes:
        dispatched: entries that have been read.
        queued: messages that went to queues, or became gaps there.
        gaps: times that the log had lost entries before they were read.
    """

    def __init__(
        self,
        commands: RedisCommands,
        reader: RedisCommands,
        keys: Keys,
        *,
        limits: str,
        consumer: str,
        wake: Callable[[], None],
        tidy: Callable[[], Awaitable[None]],
    ) -> None:
        self._commands = commands
        self._reader = reader
        self._keys = keys
        self._limits = limits
        self._consumer = consumer
        self._wake = wake
        self._tidy = tidy
        self._portion = _FEW_ENTRIES
        self._is_behind = False
        self._gap: Sequence[bytes | None] = (None, None)  # found, and not recorded yet
        self._look_for_left_s = 0.0
        self._task = BackgroundTask(self._run)
        self.dispatched = self.queued = self.gaps = 0

    def start(self) -> None:
        """Begin to read; needs a running event loop."""
        self._task.start()

    async def shutdown(self) -> None:
        """Stop reading; a batch that is not done is left to be taken over."""
        await self._task.shutdown()

    async def _run(self) -> None:
        backoff = Backoff()
        while True:
            try:
                await self._dispatch_all(backoff)
            except RedisError:
                await asyncio.sleep(backoff.next_s())
            except Exception:
                logger.exception("dispatching to webhooks failed")
                await asyncio.sleep(backoff.next_s())

    async def _dispatch_all(self, backoff: Backoff) -> None:
        """Dispatch for as long as Redis answers."""
        await self._open()
        batch: list[Event] = []
        last = b"$"
        while True:
            left = await self._left()
            if not left and not batch:
                last, batch = await self._read()
            await self._record_gap()  # of what was read now: before the events that follow it
            if left:
                await self._dispatch(left)
                continue
            if not batch:
                backoff.reset()
                await self._tidy()
                await self._wait(last)
                continue
            batch = batch[await self._dispatch(batch) :]
            backoff.reset()
            if batch:
                self._look_for_left_s = 0.0  # earlier entries may be left, and a gap among them
                await asyncio.sleep(_EARLIER_PENDING_S)
            elif not self._is_behind:
                await asyncio.sleep(_GATHER_S)

    async def _open(self) -> None:
        """Create the consumer group unless it exists."""
        await self._commands.run(_OPEN, [self._keys.log, self._keys.webhooks_state], [])

    async def _read(self) -> tuple[bytes, list[Event]]:
        """Return the id that was read last before, and the next events.

        When the log begins after that id, what is between may be lost. This gap is only in memory
        until it is recorded. If the process ends before, the entries are still pending, and the
        process that takes them over finds the gap again.
        """
        log, read_as = self._keys.log, ("XREADGROUP", "GROUP", GROUP, self._consumer)
        groups, read, oldest, self._gap = await self._commands.execute_all(
            ("XINFO", "GROUPS", log),
            (*read_as, "COUNT", self._portion, "STREAMS", log, ">"),
            ("XRANGE", log, "-", "+", "COUNT", 1),
            ("HMGET", self._keys.webhooks_state, "gap_from", "gap_until"),
        )
        last = _last_read(groups)
        entries: list[_Entry] = read[0][1] if read else []
        if entries and last != b"0-0" and (not oldest or _is_after(oldest[0][0], last)):
            self._gap = (self._gap[0] or last, entries[0][0])
        self._is_behind = len(entries) == self._portion
        size = sum(len(value) for _, fields in entries for value in fields)
        if entries:
            fitting = _PORTION_BYTES * len(entries) // max(1, size)
            most = _MAX_ENTRIES if self._is_behind else _FEW_ENTRIES
            self._portion = min(most, max(1, fitting), 4 * self._portion)
        return last, [event_of(*entry) for entry in entries]

    async def _left(self) -> list[Event]:
        """Return events that another process has left; look at most once a second."""
        now_s = asyncio.get_running_loop().time()
        if now_s < self._look_for_left_s:
            return []
        left = await self._claim()
        if not left:
            self._look_for_left_s = now_s + _CLAIM_INTERVAL_S
        return left

    async def _claim(self) -> list[Event]:
        """Return events that another process has read and left."""
        keys = [self._keys.log, self._keys.webhooks_state]
        arguments = (self._consumer, _CLAIM_AFTER_MS, self._portion)
        entries, self._gap = await self._commands.run(_CLAIM, keys, arguments)
        return [event_of(*entry) for entry in entries]

    async def _wait(self, last: bytes) -> None:
        """Wait for an entry after the last one."""
        await self._reader.execute(
            *("XREAD", "COUNT", 1, "BLOCK", _BLOCK_MS, "STREAMS", self._keys.log, last)
        )

    async def _dispatch(self, events: Sequence[Event]) -> int:
        """Queue the messages of events; return how many are done, by this or another process."""
        loop = asyncio.get_running_loop()
        done, is_due = 0, False
        webhooks = await self._find({event.user for event in events if event.user})
        try:
            for part in _parts(events, webhooks, max(_FEW_MESSAGES, len(events) // _STEPS)):
                begun_s = loop.time()
                request = self._request(events[done].id, part)
                became_due = await self._commands.run(_DISPATCH, *request)
                if became_due == _TOO_EARLY:
                    break
                is_due |= became_due > 0
                done += len(part.done)
                self.dispatched += len(part.done)
                self.queued += len(part.deliveries)
                if len(part.deliveries) > _FEW_MESSAGES:
                    await asyncio.sleep(_PAUSE * (loop.time() - begun_s))
        finally:
            if is_due:
                self._wake()
        return done

    async def _find(self, users: set[str]) -> Subscriptions:
        """Return the webhooks of users: their ids and event types."""
        names = sorted(users)
        found: list[list[bytes]] = []
        size = max(_FEW_USERS, len(names) // _STEPS)
        for first in range(0, len(names), size):
            keys = [self._keys.webhooks_of(user) for user in names[first : first + size]]
            found += await self._commands.run(_FIND, keys, [])
        return {
            user: [
                (webhook_id.decode(), _event_types.decode(types))
                for webhook_id, types in zip(flat[::2], flat[1::2], strict=True)
            ]
            for user, flat in zip(names, found, strict=True)
            if flat
        }

    def _request(self, first: str, part: Part) -> tuple[list[str], list[ScriptArgument]]:
        """Return the keys and arguments of the script for a part of a batch.

        Args:
            first: the id of the batch's first entry that is not done.
            part: of the batch.
        """
        keys = [self._keys.log, self._keys.webhooks_due, self._keys.webhooks_state]
        places: dict[str, int] = {}
        numbers: dict[str, int] = {}
        messages: list[ScriptArgument] = []
        deliveries: list[ScriptArgument] = []
        for event, webhook_id in part.deliveries:
            if event.id not in numbers:
                numbers[event.id] = len(numbers) + 1
                messages += (event.id, encode_message(event.id, event.event_type, event.data))
            if webhook_id not in places:
                places[webhook_id] = len(keys) + 1
                keys += (self._keys.webhook(webhook_id), self._keys.webhook_queue(webhook_id))
            deliveries += (places[webhook_id], webhook_id, numbers[event.id])
        heads: list[ScriptArgument] = [NotAfter.DEADLINE, self._limits, first]
        done = [event.id for event in part.done]
        return keys, [*heads, len(done), len(numbers), *done, *messages, *deliveries]

    async def _record_gap(self) -> None:
        """Record in all webhooks what the log has lost before it was read."""
        gap_from, gap_until = self._gap
        if gap_from is None or gap_until is None:
            return
        logger.warning(
            "the log has lost events from %s to %s", gap_from.decode(), gap_until.decode()
        )
        self.gaps += 1
        ids: list[bytes] = await self._commands.execute("ZRANGE", self._keys.webhooks, 0, -1)
        for first in range(0, len(ids), _WEBHOOKS_AT_ONCE):
            some = [webhook_id.decode() for webhook_id in ids[first : first + _WEBHOOKS_AT_ONCE]]
            keys = [self._keys.webhooks_due, *(self._keys.webhook(each) for each in some)]
            await self._commands.run(_RECORD_GAP, keys, [gap_from, gap_until, *some])
        await self._commands.execute("HDEL", self._keys.webhooks_state, "gap_from", "gap_until")
        self._gap = (None, None)
        self._wake()


def _last_read(groups: Sequence[Sequence[bytes]]) -> bytes:
    """Return the id of the last entry that the group has read, as XINFO GROUPS shows it."""
    shown = (dict(zip(group[::2], group[1::2], strict=True)) for group in groups)
    read = (one[b"last-delivered-id"] for one in shown if one[b"name"] == GROUP.encode())
    return next(read, b"0-0")


def _is_after(entry_id: bytes, other: bytes) -> bool:
    return (parse_position(entry_id.decode()) or 0) > (parse_position(other.decode()) or 0)


def _parts(events: Sequence[Event], webhooks: Subscriptions, most: int) -> Iterator[Part]:
    """Yield what one script after the other does of a batch: up to `most` messages each."""
    part = Part()
    for event in events:
        for webhook_id, types in webhooks.get(event.user, ()):
            if event.event_type not in types and _ALL_EVENTS not in types:
                continue
            part.deliveries.append((event, webhook_id))
            if len(part.deliveries) >= most:
                yield part
                part = Part()
        part.done.append(event)
    yield part

"""ONE SHARD as a node has it: its log, what memory holds of it, its streams, and its link.

All of this exists once for each shard; without shards there is one. What a node has once for all
shards is not here: connections for commands, revocations, HTTP.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from time import monotonic
from typing import Any

from sse_node.config.sections import Settings
from sse_node.delivery.fanout import Fanout
from sse_node.delivery.histogram import Histogram
from sse_node.delivery.history import History
from sse_node.delivery.hub import Hub
from sse_node.delivery.ingest import Ingest
from sse_node.errors import PublisherError
from sse_node.redis.catch_up import CatchUp
from sse_node.redis.connections import Connections
from sse_node.redis.event_log import EventLog
from sse_node.redis.event_logs import EventLogs, make_log
from sse_node.redis.keys import Keys, probe_channel
from sse_node.redis.link import Link
from sse_node.redis.link_check import LinkCheck
from sse_node.redis.namesakes import Namesakes
from sse_node.redis.replay import LogReplay
from sse_node.redis.subscriber import Message
from sse_node.redis.subscriptions import Subscriptions
from sse_node.wire.envelope import USER_EVENTS, decode_envelope, user_of
from sse_node.wire.sharding import shard_of

# The first stream of a shard waits this long for its subscription, and is told to come back else.
_WAIT_S = 2.0
_KEEP_S = 60.0  # arbitrary: clients come back within seconds
_LOOK_S = 0.2  # at the start of a node, for shards that are known to be away


@dataclass(frozen=True, slots=True)
class ShardOwner:
    """What the shards of a node share.

    Attributes:
        namesakes: has the name of the process, and hears the probes of others with the same.
        control: by internal channels, what is called with each payload of the first shard.
        publish_to_write: observes the latency.
        on_dropped: called with the error of each payload that is not delivered.
        on_position_lost: called when all streams of a shard must be reset, with the reason.
        on_health: called after every probe with whether the shard takes writes.
        make_link: makes the subscription of a shard, of what takes its messages.
        subscriptions: begin and end it; without several shards it always lasts.
    """

    namesakes: Namesakes
    control: dict[bytes, Callable[[bytes], None]]
    publish_to_write: Histogram
    on_dropped: Callable[[PublisherError], None]
    on_position_lost: Callable[["Shard", str], None]
    on_health: Callable[["Shard", bool], None]
    make_link: Callable[["Shard", Callable[[list[Message]], None]], Link]
    subscriptions: Subscriptions


class Shard:
    """One shard; created by Shards, lives as long as the node.

    Args:
        number: from 0.
        log: of this shard.
        settings: of the node; limits of memory are shared by all shards.
        sharers: how many shards there are.
        owner: what they share.

    Attributes:
        hub: the streams of this shard.
        history: the last entries of its log; its position is that of all its streams.
        takes_writes: set while Redis does.
        serving: the history has been filled, so that streams can be opened.
        was_probed: whether Redis takes writes is known.
        is_wanted: whether there is or shall be a subscription: for streams, and always for the
            first shard, which has the revocations.
    """

    def __init__(
        self,
        number: int,
        log: EventLog,
        settings: Settings,
        *,
        sharers: int,
        owner: ShardOwner,
    ) -> None:
        kept = settings.history
        self.number = number
        self.log = log
        self.takes_writes = asyncio.Event()
        self.serving = self.was_probed = False
        self.hub = Hub()
        self.history = History(-(-kept.history // sharers), -(-kept.history_bytes // sharers))
        self.fanout = Fanout(
            self.hub,
            self.history,
            max_event_bytes=settings.events.max_event_bytes,
            event_names=settings.events.event_names,
            on_dropped=owner.on_dropped,
        )
        self.catch_up = CatchUp(
            log,
            self.history,
            self.fanout,
            history_limit=-(-kept.history // sharers),
            on_position_lost=lambda reason: owner.on_position_lost(self, reason),
        )
        self.replay = LogReplay(log, self.history, -(-kept.replay_limit // sharers))
        control = {probe_channel(owner.namesakes.name).encode(): self._on_probe}
        if number == 0:
            control |= owner.control
        self.ingest = Ingest(
            self.fanout,
            self.history,
            control=control,
            now_s=time.time,
            publish_to_write=owner.publish_to_write,
        )
        self.internal_channels = tuple(control)
        self.link = owner.make_link(self, self.ingest.receive)
        self._subscriptions = None if owner.subscriptions.is_one else owner.subscriptions
        self.is_wanted = self._subscriptions is None or number == 0
        self._wanted_s = monotonic()
        if self._subscriptions is not None and self.is_wanted:
            self._subscriptions.begin(self.link)
        self.check = LinkCheck(
            log,
            self.history,
            self.link,
            server_id=owner.namesakes.name,
            interval_s=settings.redis.audit_interval,
            on_health=lambda takes_writes: owner.on_health(self, takes_writes),
            namesakes=owner.namesakes,
        )

    def _on_probe(self, payload: bytes) -> None:
        self.check.on_probe(payload)

    @property
    def usable(self) -> bool:
        """Whether its events can be published and are received."""
        is_heard = self.link.up.is_set() or not self.is_wanted
        return self.takes_writes.is_set() and is_heard

    async def wait_usable(self) -> None:
        """Wait until it is, for the first time."""
        if self.is_wanted:
            await self.link.up.wait()
        await self.takes_writes.wait()

    async def want(self) -> bool:
        """Subscribe for a stream that comes; return whether that was done in time.

        The subscription lasts for a while without streams.
        """
        self._wanted_s = monotonic()
        if self._subscriptions is None:
            return self.serving
        if not self.is_wanted:
            self.is_wanted = True
            self._subscriptions.begin(self.link)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.link.up.wait(), _WAIT_S)
        return self.serving

    def look(self) -> None:
        """End the subscription when there has been no stream for a while."""
        if self._subscriptions is None or not self.is_wanted or self.number == 0:
            return
        if self.hub.is_empty:
            if monotonic() - self._wanted_s > _KEEP_S:
                self.is_wanted = self.serving = self.catch_up.filled = False
                self._subscriptions.end(self.link)
                self.history.reset(self.history.position)
                self.replay.forget()
        else:
            self._wanted_s = monotonic()

    @property
    def is_away(self) -> bool:
        """Whether its server is known not to answer; False while it is only not known yet."""
        return self.link.failures > 0 or (self.was_probed and not self.takes_writes.is_set())


class Shards:
    """All shards of a node, in order; lives as long as the node.

    Args:
        shards: 1, 2, 4, … 64 of them.

    Attributes:
        logs: of the shards.
    """

    def __init__(self, shards: Sequence[Shard]) -> None:
        self._shards = shards
        self.logs = EventLogs([shard.log for shard in shards])

    def __len__(self) -> int:
        return len(self._shards)

    def __iter__(self) -> Iterator[Shard]:
        return iter(self._shards)

    def of(self, audience: str) -> Shard:
        """Return the shard of a user, or of a stream whose first audience is a channel."""
        shards = self._shards
        return shards[shard_of(audience, len(shards))] if len(shards) > 1 else shards[0]

    def hub_of(self, audience: str) -> Hub:
        """Return where streams with this first audience are registered."""
        return self.of(audience).hub

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

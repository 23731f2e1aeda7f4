"""ONE SHARD as a node has it: its log, what memory holds of it, its streams, its link.

All of this exists once for each shard; without shards there is one. What a node has once for all
shards is not here: connections for commands, revocations, HTTP.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from sse_node.config.sections import Settings
from sse_node.delivery.fanout import Fanout
from sse_node.delivery.histogram import Histogram
from sse_node.delivery.history import History
from sse_node.delivery.hub import Hub
from sse_node.delivery.ingest import Ingest
from sse_node.errors import PublisherError
from sse_node.redis.catch_up import CatchUp
from sse_node.redis.event_log import EventLog
from sse_node.redis.keys import probe_channel
from sse_node.redis.link import Link
from sse_node.redis.link_check import LinkCheck
from sse_node.redis.namesakes import Namesakes
from sse_node.redis.replay import LogReplay
from sse_node.redis.subscriber import Message
from sse_node.redis.subscriptions import Subscriptions

# The first stream of a shard waits this long for its subscription, and is told to come back else.
_WAIT_S = 2.0
_KEEP_S = 60.0  # arbitrary: clients come back within seconds


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

"""The subscriptions of shards in a cluster: one connection for each master that has some.

Where a shard is, the servers say. A shard that is refused or taken back, or whose server is gone,
is subscribed to again at the server that has it now, and catches up; the others go on.
"""

import asyncio
import logging

from sse_node.lifetimes.background_task import BackgroundTask
from sse_node.redis.address import RedisAddress
from sse_node.redis.backoff import Backoff
from sse_node.redis.cluster import Cluster
from sse_node.redis.master_link import MasterLink
from sse_node.redis.shard_link import ShardLink
from sse_node.redis.tcp import Server
from sse_node.wire.sharding import slot_of

_FIRST_WAIT_S = 0.02
_LONGEST_WAIT_S = 0.5
# Arbitrary: for a move that no server has told of, as one that was cut off from the others.
_LOOK_S = 2.0

logger = logging.getLogger(__name__)


class ClusterLinks:
    """Carries the shards' subscriptions; lives as long as the node.

    Args:
        address: of the cluster.
        cluster: the same.
        name: what CLIENT LIST shows.
        ping_interval_s: of each connection.
    """

    def __init__(
        self, address: RedisAddress, cluster: Cluster, *, name: str, ping_interval_s: float
    ) -> None:
        self._address = address
        self._cluster = cluster
        self._name = name
        self._ping_interval_s = ping_interval_s
        self._slots: dict[ShardLink, int] = {}
        self._masters: dict[Server, MasterLink] = {}
        self._lost: set[ShardLink] = set()
        self._changed = asyncio.Event()
        self._task = BackgroundTask(self._run)
        cluster.follow(self._changed.set)

    def add(self, link: ShardLink, key: str) -> None:
        """Carry a shard from now on; key: any of its keys."""
        self._slots[link] = slot_of(key)
        self._lost.add(link)
        self._changed.set()

    def remove(self, link: ShardLink) -> None:
        """Carry a shard no more."""
        self._slots.pop(link, None)
        self._lost.discard(link)
        self._take_away(link)
        self._changed.set()

    def start(self) -> None:
        """Begin to connect; needs a running event loop."""
        self._task.start()

    async def shutdown(self) -> None:
        """End all subscriptions for good."""
        await self._task.shutdown()
        for master in self._masters.values():
            await master.shutdown()

    def reconnect(self, why: str) -> None:
        """Give the present connections up and make new ones at once."""
        for master in self._masters.values():
            master.reconnect(why)

    def _on_refused(self, link: ShardLink, why: str) -> None:
        logger.info("%s: subscribing again: %s", link, why)
        self._lost.add(link)
        self._changed.set()

    async def _run(self) -> None:
        backoff = Backoff(_FIRST_WAIT_S, _LONGEST_WAIT_S)
        while True:
            self._changed.clear()
            try:
                await self._place_all(await self._cluster.ask())
            except Exception:
                logger.exception("%s: failed", self._name)
            if self._lost or self._changed.is_set():
                await asyncio.sleep(backoff.next_s())
                continue
            try:
                await asyncio.wait_for(self._changed.wait(), _LOOK_S)
            except TimeoutError:
                backoff.reset()

    async def _place_all(self, why_not: str) -> None:
        """Give each shard to the connection to its master."""
        await asyncio.gather(*(master.read_out() for master in self._that_lose_a_shard()))
        lost, self._lost = self._lost, set()
        for link, slot in list(self._slots.items()):
            server = self._cluster.master_of(slot)
            if server is None:
                link.on_failure(why_not or f"no server of the cluster has slot {slot}")
                self._lost.add(link)
                continue
            master = self._masters.get(server) or self._connect(server)
            if link.carrier is not master:
                self._take_away(link)
                master.add(link)
            elif link in lost:
                master.add(link)
        for server, master in list(self._masters.items()):
            if not len(master):
                del self._masters[server]
                await master.shutdown()

    def _that_lose_a_shard(self) -> list[MasterLink]:
        """Return the connections of which a shard goes to another one."""
        return [
            master
            for server, master in self._masters.items()
            if any(
                link.carrier is master and self._cluster.master_of(slot) != server
                for link, slot in self._slots.items()
            )
        ]

    def _take_away(self, link: ShardLink) -> None:
        for master in self._masters.values():
            master.remove(link)

    def _connect(self, server: Server) -> MasterLink:
        master = self._masters[server] = MasterLink(
            self._address.of_server(server),
            name=self._name,
            ping_interval_s=self._ping_interval_s,
            on_refused=self._on_refused,
            on_failure=self._changed.set,
        )
        master.start()
        return master

"""The subscriptions of a node: one alone, or one for each shard over shared connections."""

from collections.abc import Awaitable, Callable, Sequence

from sse_node.redis.address import RedisAddress
from sse_node.redis.cluster_links import ClusterLinks
from sse_node.redis.keys import Keys
from sse_node.redis.link import Link
from sse_node.redis.master_link import MasterLink
from sse_node.redis.shard_link import ShardLink
from sse_node.redis.subscriber import Message
from sse_node.redis.subscription import Subscription

OnBatch = Callable[[list[Message]], None]


class Subscriptions:
    """Makes the links of shards, and connects them; lives as long as the node.

    With several shards, or in a cluster, a further connection hears what other programs publish
    without knowing of shards; there is one, so each message is heard once at most.

    Args:
        address: of Redis.
        name: what CLIENT LIST shows.
        keys: of all shards, the namespace's.
        shards: how many there are.
        ping_interval_s: of each connection.
        plain_channels: that other programs publish on, by their plain names.
        on_plain: called with such messages, where there are several shards.
    """

    def __init__(
        self,
        address: RedisAddress,
        *,
        name: str,
        keys: Keys,
        shards: int,
        ping_interval_s: float,
        plain_channels: Sequence[bytes],
        on_plain: OnBatch,
    ) -> None:
        self._address = address
        self._name = name
        self._keys = keys
        self._shards = shards
        self._ping_interval_s = ping_interval_s
        self._masters: MasterLink | ClusterLinks | None = None
        self._alone: Subscription | None = None
        self._keys_of: dict[ShardLink, str] = {}
        cluster = address.cluster
        if cluster is not None:
            self._masters = ClusterLinks(
                address, cluster, name=name, ping_interval_s=ping_interval_s
            )
        elif shards > 1:
            self._masters = MasterLink(address, name=name, ping_interval_s=ping_interval_s)
        if self._masters is not None:
            self._alone = self._subscription(f"{name}-plain", plain_channels, on_plain, _nothing)

    @property
    def is_one(self) -> bool:
        """Whether there is one shard, under the server's own names."""
        return self._masters is None

    def make_link(
        self,
        number: int,
        keys: Keys,
        channels: Sequence[bytes],
        on_batch: OnBatch,
        catch_up: Callable[[], Awaitable[None]],
    ) -> Link:
        """Return the subscription of a shard, which is subscribed to from `begin` on.

        Args:
            number: of the shard.
            keys: of the shard.
            channels: by their plain names.
            on_batch: called with its messages of one read; must neither raise nor block.
            catch_up: awaited after every (re)subscription, while live messages wait.
        """
        if self._masters is None:
            self._alone = self._subscription(self._name, channels, on_batch, catch_up)
            return self._alone
        link = ShardLink(
            f"{self._name} shard {number}",
            channels,
            prefix=keys.prefix.encode(),
            on_batch=on_batch,
            catch_up=catch_up,
            sharers=self._shards,
        )
        self._keys_of[link] = keys.log
        return link

    def begin(self, link: Link) -> None:
        """Subscribe to a shard from now on; a node without several shards always does."""
        if not isinstance(link, ShardLink):
            return
        if isinstance(self._masters, ClusterLinks):
            self._masters.add(link, self._keys_of[link])
        elif self._masters is not None:
            self._masters.add(link)

    def end(self, link: Link) -> None:
        """Subscribe to a shard no more."""
        if isinstance(link, ShardLink) and self._masters is not None:
            self._masters.remove(link)

    def _subscription(
        self,
        name: str,
        channels: Sequence[bytes],
        on_batch: OnBatch,
        catch_up: Callable[[], Awaitable[None]],
    ) -> Subscription:
        return Subscription(
            self._address,
            name=name,
            channels=channels,
            on_batch=on_batch,
            catch_up=catch_up,
            ping_interval_s=self._ping_interval_s,
            prefix=self._keys.prefix.encode(),
        )

    def start(self) -> None:
        """Begin to connect; needs a running event loop."""
        for each in (self._masters, self._alone):
            if each is not None:
                each.start()

    async def shutdown(self) -> None:
        """End all subscriptions for good."""
        for each in (self._masters, self._alone):
            if each is not None:
                await each.shutdown()

    def reconnect(self, why: str) -> None:
        """Give the present connections up and make new ones at once."""
        for each in (self._masters, self._alone):
            if each is not None:
                each.reconnect(why)

    def change_plain_channels(self, channels: Sequence[bytes]) -> None:
        """Hear other programs on other channels, by their plain names."""
        if self._masters is not None and self._alone is not None:
            self._alone.change_channels(channels)


async def _nothing() -> None:
    """What other programs publish is in no log."""

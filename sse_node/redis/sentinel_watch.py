"""Hears from the sentinels when they name another master, before anything else shows it.

In a failover by command the former master lives on, closes no connection and takes writes, until
the sentinels make it a replica some ten seconds later. A message may be missed, so it is only a
reason to ask, and everything works without it: after each subscription the sentinels are asked
too, and again every few seconds while the node writes.
"""

from typing import Final

from sse_node.redis.address import RedisAddress
from sse_node.redis.sentinel import Sentinels
from sse_node.redis.subscription import Subscription

_SWITCH: Final = b"+switch-master"
_PING_INTERVAL_S: Final = 5.0  # arbitrary: a sentinel that vanished is not the only one


class SentinelWatch:
    """A subscription to every sentinel of an address; none without sentinels.

    Lives as long as what uses the address.

    Args:
        address: of Redis.
        name: what CLIENT LIST of a sentinel shows.
    """

    def __init__(self, address: RedisAddress, name: str) -> None:
        self._links = [
            _subscription(address.sentinels, each, name)
            for each in address.sentinel_addresses()
            if address.sentinels is not None
        ]

    def start(self) -> None:
        """Begin to connect; needs a running event loop."""
        for link in self._links:
            link.start()

    async def shutdown(self) -> None:
        """End all subscriptions."""
        for link in self._links:
            await link.shutdown()


def _subscription(sentinels: Sentinels, address: RedisAddress, name: str) -> Subscription:
    async def ask() -> None:
        await sentinels.ask()

    return Subscription(
        address,
        name=f"{name}:sentinel:{address}",
        channels=[_SWITCH],
        on_batch=lambda batch: sentinels.ask_soon(),
        catch_up=ask,
        ping_interval_s=_PING_INTERVAL_S,
    )

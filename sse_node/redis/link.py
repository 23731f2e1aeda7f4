"""What a node's parts ask of a subscription, be it the only one or that of one shard."""

import asyncio
from collections.abc import Sequence
from typing import Protocol


class Link(Protocol):
    """A subscription over all its connections.

    Attributes:
        up: set while it is subscribed and the node has caught up.
        subscriptions: how often that has become so.
        failures: attempts since it was up the last time.
    """

    up: asyncio.Event
    subscriptions: int
    failures: int

    def reconnect(self, why: str) -> None:
        """Subscribe again, over a new connection."""

    def wake(self) -> None:
        """Cut the waiting time short: somebody else has seen Redis answer."""

    def change_channels(self, channels: Sequence[bytes]) -> None:
        """Subscribe to other channels, by their plain names, and catch up."""

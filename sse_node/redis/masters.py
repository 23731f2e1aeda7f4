"""How the present master is found where it may change: by sentinels, or by a cluster."""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Final

from sse_node.redis.inquiry import Inquiry
from sse_node.redis.tcp import P, Server

# Arbitrary: there are a few seconds at least between two failovers.
_FORMER_MASTERS: Final = 4
TRUST_S: Final = 0.5
"""For how long a server that answered is the master: `down-after-milliseconds` or
`cluster-node-timeout` comes before a failover."""


class MasterFinder(ABC):
    """Finds the master of a service, or of a slot of a cluster.

    Args:
        inquiry: asks who the master is.
        ask_again_s: while the master answers, it is asked again after this time.

    Attributes:
        failovers: how often another server was named.
        former: the servers that were named before, the last of them; with repetitions.
    """

    def __init__(self, inquiry: Inquiry[Any], ask_again_s: float) -> None:
        self._inquiry = inquiry
        self._ask_again_s = ask_again_s
        self._followers: list[Callable[[], None]] = []
        self._proven_s = float("-inf")
        self.failovers = 0
        self.former: deque[Server] = deque(maxlen=_FORMER_MASTERS)

    @property
    @abstractmethod
    def master(self) -> Server | None:
        """The master as last named; None before the first answer."""

    @abstractmethod
    async def connect(
        self, first: Sequence[tuple[bytes, ...]], make_protocol: Callable[[], P]
    ) -> tuple[asyncio.Transport, P]:
        """Connect to the master.

        Args:
            first: commands that authenticate.
            make_protocol: called when the server is the master.

        Raises:
            OSError: there is no connection.
            RedisError: there is no master.
        """

    def follow(self, on_new_master: Callable[[], None]) -> None:
        """Call a function whenever another server is named; it must neither raise nor block."""
        self._followers.append(on_new_master)

    async def refresh(self) -> None:
        """Ask again if the master was silent, so that another one may have been named.

        Without an answer the master stays what it was: who does not answer names no other one.
        """
        if self._was_silent():
            await self.ask()
        elif monotonic() - self._inquiry.asked_s > self._ask_again_s:
            self.ask_soon()

    async def confirm(self, server: Server) -> bool:
        """Return whether a server that has just answered is the master, as far as can be known."""
        await self.refresh()
        if server != self.master:
            return False
        self._prove()
        return True

    async def ask(self) -> str:
        """Ask, together with all that ask at this time; return why there is no answer."""
        return await self._inquiry.ask()

    def ask_soon(self) -> None:
        """Ask from now on, while nobody waits for the answer."""
        self._inquiry.ask_soon()

    def _was_silent(self) -> bool:
        return monotonic() - self._proven_s > TRUST_S

    def _prove(self) -> None:
        """Note that the master has just been one."""
        self._proven_s = monotonic()

    def _on_new_master(self, before: Server) -> None:
        self.failovers += 1
        self.former.append(before)
        for on_new_master in self._followers:
            on_new_master()

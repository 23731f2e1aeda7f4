"""How the present master is found where it may change: by sentinels, or by a cluster."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from sse_node.redis.tcp import P, Server

FORMER_MASTERS: Final = 4
"""How many are remembered: there are a few seconds at least between two failovers. Arbitrary."""


class MasterFinder(Protocol):
    """Finds the master of a service, or of a slot of a cluster."""

    @property
    def master(self) -> Server | None:
        """The master as last named; None before the first answer."""

    @property
    def failovers(self) -> int:
        """How often another server was named."""

    @property
    def former(self) -> Sequence[Server]:
        """The servers that were named before, the last of them; with repetitions."""

    def follow(self, on_new_master: Callable[[], None]) -> None:
        """Call a function whenever another server is named; it must neither raise nor block."""

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

    async def refresh(self) -> None:
        """Ask again if the master was silent, so that another one may have been named."""

    async def confirm(self, server: Server) -> bool:
        """Return whether a server that has just answered is the master, as far as can be known."""

    async def ask(self) -> str:
        """Ask who the master is; return why there is no answer."""

    def ask_soon(self) -> None:
        """Ask from now on, while nobody waits for the answer."""

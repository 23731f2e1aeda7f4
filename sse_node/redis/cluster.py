"""A Redis Cluster: which server has which slot, as its servers say.

All servers that are known are asked together. Of two claims to a slot the one with the higher
configuration epoch is newer: so a former master that has not heard of its end is overruled, as long
as one of the others answers.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from time import monotonic
from typing import Any, Final

from sse_node.errors import RedisError
from sse_node.redis.inquiry import Inquiry
from sse_node.redis.masters import TRUST_S, MasterFinder
from sse_node.redis.tcp import Dialer, P, Server

# Arbitrary. It matters where nothing breaks and no server says MOVED.
_ASK_AGAIN_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Claim:
    """What a master has.

    Attributes:
        epoch: of its configuration.
        server: where it listens.
        ranges: of slots, first and last of each.
    """

    epoch: int
    server: Server
    ranges: tuple[tuple[int, int], ...]


class Cluster:
    """The servers of a cluster; shared by all connections of a process, lives as long as it.

    Args:
        seeds: servers to ask first, at least one.
        dialer: opens connections.
        first: commands that authenticate.

    Attributes:
        inquiry: asks all servers.
        claims: of all masters, as last learnt.
    """

    def __init__(
        self, seeds: Sequence[Server], dialer: Dialer, first: Sequence[tuple[bytes, ...]]
    ) -> None:
        self._seeds = seeds
        self.dialer = dialer
        self.inquiry = Inquiry(
            dialer,
            [*first, (b"CLUSTER", b"NODES")],
            places=lambda: {*seeds, *self._known},
            read=lambda replies, place: _read_nodes(
                replies[-1], place, by_name=dialer.tls is not None
            ),
            learn=self._learn,
            nobody="no server of the cluster answers",
        )
        self._followers: list[Callable[[], None]] = []
        self._known: set[Server] = set()
        self.claims: tuple[Claim, ...] = ()

    def __str__(self) -> str:
        """Return the servers that were named, for people."""
        return f"cluster ({', '.join(map(str, self._seeds))})"

    def follow(self, on_change: Callable[[], None]) -> None:
        """Call a function whenever slots have moved; it must neither raise nor block."""
        self._followers.append(on_change)

    def master_of(self, slot: int) -> Server | None:
        """Return the server that has a slot; None where none is known."""
        covering = [
            claim
            for claim in self.claims
            if any(first <= slot <= last for first, last in claim.ranges)
        ]
        return max(covering, key=lambda claim: claim.epoch).server if covering else None

    async def ask(self) -> str:
        """Ask, together with all that ask at this time; return why there is no answer."""
        return await self.inquiry.ask()

    def _learn(self, answers: Sequence[tuple[list[Claim], set[Server]]]) -> None:
        newest: dict[Server, Claim] = {}
        self._known |= {server for _, known in answers for server in known}
        for claim in chain.from_iterable(claims for claims, _ in answers):
            known = newest.get(claim.server)
            if known is None or claim.epoch > known.epoch:
                newest[claim.server] = claim
            elif claim.epoch == known.epoch and claim.ranges != known.ranges:
                # One of them has not heard of a move: a higher epoch decides the slots in question.
                newest[claim.server] = Claim(
                    claim.epoch, claim.server, tuple(sorted({*claim.ranges, *known.ranges}))
                )
        learnt = tuple(sorted(newest.values(), key=lambda claim: claim.server))
        if learnt != self.claims:
            self.claims = learnt
            for on_change in self._followers:
                on_change()


class ClusterPlace(MasterFinder):
    """The master of one slot, or any master; lives as long as what connects to it.

    Args:
        cluster: that it is part of.
        slot: from 0 to 16383; None for any server.
    """

    def __init__(self, cluster: Cluster, slot: int | None) -> None:
        super().__init__(cluster.inquiry, _ASK_AGAIN_S)
        self.cluster = cluster
        self._slot = slot
        self._any: Server | None = None
        self._last: Server | None = None
        cluster.follow(self._on_change)

    def __str__(self) -> str:
        """Return the present master for people, or the cluster."""
        return str(self.master or self.cluster)

    @property
    def master(self) -> Server | None:
        """The server, as last learnt."""
        return self._any if self._slot is None else self.cluster.master_of(self._slot)

    def _on_change(self) -> None:
        before, self._last = self._last, self.master
        if before is not None and self._last is not None and before != self._last:
            self._on_new_master(before)

    async def connect(
        self, first: Sequence[tuple[bytes, ...]], make_protocol: Callable[[], P]
    ) -> tuple[asyncio.Transport, P]:
        """Connect to the server that has the slot. It says MOVED itself if it has not."""
        why_not = ""
        if monotonic() - self._inquiry.asked_s > TRUST_S or self.master is None:
            why_not = await self.ask()
        if self._slot is None:
            servers = [claim.server for claim in self.cluster.claims if claim.ranges]
            self._any = random.choice(servers) if servers else None
        server = self.master
        if server is None:
            raise RedisError(why_not or f"no server of the cluster has slot {self._slot}")
        try:
            connected = await self.cluster.dialer.connect(server, make_protocol)
        except OSError:
            self.ask_soon()
            raise
        self._prove()
        return connected


def _read_nodes(text: Any, place: Server, *, by_name: bool) -> tuple[list[Claim], set[Server]]:  # noqa: ANN401
    """Return the masters in an answer to CLUSTER NODES, and all servers. Raises RedisError.

    Args:
        text: the answer.
        place: who answered; where it listens if it does not know its own address yet.
        by_name: take the names of hosts, where they are announced, for certificates.
    """
    claims: list[Claim] = []
    known: set[Server] = set()
    try:
        for line in text.decode().splitlines():
            _, address, flags, _, _, _, epoch, _, *slots = line.split()
            host_and_port, _, names = address.partition(",")
            host, _, port = host_and_port.partition("@")[0].rpartition(":")
            name = names.split(",")[0]
            server = Server((by_name and name) or host or place.host, int(port))
            if "noaddr" in flags or "handshake" in flags:
                continue
            known.add(server)
            if "master" in flags:
                ranges = [_range_of(each) for each in slots if not each.startswith("[")]
                claims.append(Claim(int(epoch), server, tuple(ranges)))
    except (AttributeError, UnicodeDecodeError, ValueError):
        raise RedisError("answered what no server of a cluster does") from None
    return claims, known


def _range_of(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    return int(first), int(last or first)

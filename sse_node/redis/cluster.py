"""A Redis Cluster: which server has which slot, as its servers say.

All servers that are known are asked together. Of two claims to a slot the one with the higher
configuration epoch is newer: so a former master that has not heard of its end is overruled, as long
as one of the others answers.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

from sse_node.errors import RedisError, reason_of
from sse_node.redis.questions import Questions
from sse_node.redis.tcp import Dialer, P, Server

_TIMEOUT_S: Final = 0.5
# After a majority has answered: the first server that knows of a failover may be another one.
_LATECOMERS_S: Final = 0.05
# Of a server that answers: no failover takes less, as cluster-node-timeout comes first.
_TRUST_S: Final = 0.5
# Arbitrary. It matters where nothing breaks and no server says MOVED.
_ASK_AGAIN_S: Final = 2.0

logger = logging.getLogger(__name__)


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
        claims: of all masters, as last learnt.
    """

    def __init__(
        self, seeds: Sequence[Server], dialer: Dialer, first: Sequence[tuple[bytes, ...]]
    ) -> None:
        self._seeds = seeds
        self.dialer = dialer
        self._commands = [*first, (b"CLUSTER", b"NODES")]
        self._followers: list[Callable[[], None]] = []
        self._asking: asyncio.Task[str] | None = None
        self._known: set[Server] = set()
        self._is_silent = False
        self.asked_s = float("-inf")
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
        return await asyncio.shield(self._begin_to_ask())

    def ask_soon(self) -> None:
        """Ask from now on, while nobody waits for the answer."""
        self._begin_to_ask()

    def _begin_to_ask(self) -> "asyncio.Task[str]":
        if self._asking is None or self._asking.done():
            self.asked_s = monotonic()
            self._asking = asyncio.get_running_loop().create_task(self._ask())
        return self._asking

    async def _ask(self) -> str:
        places = {*self._seeds, *self._known}
        pending = {asyncio.ensure_future(self._ask_one(each)) for each in places}
        answers, failures, patience_s = list[list[Claim]](), list[str](), None
        try:
            while pending:
                done, pending = await asyncio.wait(
                    pending, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    break
                for each in done:
                    answer = each.result()
                    failures.append(answer) if isinstance(answer, str) else answers.append(answer)
                patience_s = _LATECOMERS_S if len(answers) > len(places) // 2 else None
        finally:
            for each in pending:
                each.cancel()
        if not answers:
            return self._on_silence("; ".join(sorted(failures)))
        self._is_silent = False
        self._learn([claim for claims in answers for claim in claims])
        return ""

    async def _ask_one(self, place: Server) -> list[Claim] | str:
        """Ask one server; return the claims that it knows, or why there is no answer."""
        questions = Questions(self._commands)
        transport: asyncio.Transport | None = None
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                transport, _ = await self.dialer.connect(place, lambda: questions)
                replies = await questions.replies
            claims, known = _read_nodes(replies[-1], place, by_name=self.dialer.tls is not None)
        except TimeoutError:
            return f"{place}: no answer within {_TIMEOUT_S:g} s"
        except (OSError, UnicodeError, RedisError) as exc:
            return f"{place}: {reason_of(exc)}"
        else:
            self._known |= known
            return claims
        finally:
            if transport is not None:
                transport.abort()

    def _on_silence(self, detail: str) -> str:
        why_not = f"no server of the cluster answers: {detail}"
        if not self._is_silent:  # once per outage
            logger.warning("Redis: %s", why_not)
        self._is_silent = True
        return why_not

    def _learn(self, claims: Sequence[Claim]) -> None:
        newest: dict[Server, Claim] = {}
        for claim in claims:
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
            self._known = {*self._known, *newest}
            for on_change in self._followers:
                on_change()


class ClusterPlace:
    """The master of one slot, or any master; lives as long as what connects to it.

    Args:
        cluster: that it is part of.
        slot: from 0 to 16383; None for any server.
    """

    def __init__(self, cluster: Cluster, slot: int | None) -> None:
        self.cluster = cluster
        self._slot = slot
        self._any: Server | None = None
        self._last: Server | None = None
        self._followers: list[Callable[[], None]] = []
        self._proven_s = float("-inf")
        self.failovers = 0
        cluster.follow(self._on_change)

    def __str__(self) -> str:
        """Return the present master for people, or the cluster."""
        return str(self.master or self.cluster)

    @property
    def master(self) -> Server | None:
        """The server, as last learnt."""
        return self._any if self._slot is None else self.cluster.master_of(self._slot)

    def follow(self, on_new_master: Callable[[], None]) -> None:
        """Call a function whenever another server has the slot."""
        self._followers.append(on_new_master)

    def _on_change(self) -> None:
        before, self._last = self._last, self.master
        if before is not None and self._last is not None and before != self._last:
            self.failovers += 1
            for on_new_master in self._followers:
                on_new_master()

    async def connect(
        self, first: Sequence[tuple[bytes, ...]], make_protocol: Callable[[], P]
    ) -> tuple[asyncio.Transport, P]:
        """Connect to the server that has the slot. It says MOVED itself if it has not."""
        why_not = ""
        if monotonic() - self.cluster.asked_s > _TRUST_S or self.master is None:
            why_not = await self.cluster.ask()
        if self._slot is None:
            servers = [claim.server for claim in self.cluster.claims if claim.ranges]
            self._any = random.choice(servers) if servers else None
        server = self.master
        if server is None:
            raise RedisError(why_not or f"no server of the cluster has slot {self._slot}")
        try:
            connected = await self.cluster.dialer.connect(server, make_protocol)
        except OSError:
            self.cluster.ask_soon()
            raise
        self._proven_s = monotonic()
        return connected

    async def refresh(self) -> None:
        """Ask again if the server was silent, so that another one may have the slot."""
        if monotonic() - self._proven_s > _TRUST_S:
            await self.ask()
        elif monotonic() - self.cluster.asked_s > _ASK_AGAIN_S:
            self.ask_soon()

    async def confirm(self, server: Server) -> bool:
        """Return whether a server that has just answered has the slot, as far as can be known."""
        await self.refresh()
        if server != self.master:
            return False
        self._proven_s = monotonic()
        return True

    async def ask(self) -> str:
        """Ask the servers; return why there is no answer."""
        return await self.cluster.ask()

    def ask_soon(self) -> None:
        """Ask from now on, while nobody waits for the answer."""
        self.cluster.ask_soon()


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

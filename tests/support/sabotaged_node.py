"""A node with one thing turned off, for the checker to find.

`python -m tests.support.sabotaged_node THING serve …`, where the rest is the node's own
command line.
"""

from __future__ import annotations

import sys

from sse_node.__main__ import main
from sse_node.delivery.history import History
from sse_node.redis.catch_up import CatchUp
from sse_node.redis.cluster import Cluster, ClusterPlace
from sse_node.redis.former_masters import FormerMasters
from sse_node.redis.link_check import LinkCheck
from sse_node.redis.sentinel import SentinelPlaces, Sentinels
from sse_node.redis.sentinel_watch import SentinelWatch
from sse_node.redis.shard_subscriber import ShardSubscriberConnection
from sse_node.streams import opening, registry

_ask = Sentinels.ask
_ask_cluster = Cluster.ask
_run = CatchUp.run
_append = History.append


async def _fill_only(catch_up: CatchUp) -> None:
    if not catch_up.filled:
        await _run(catch_up)


def _accept_everything(history: History, position: int, audience: str, payload: bytes) -> bool:
    _append(history, position, audience, payload)
    return True


async def _ask_only_once(sentinels: Sentinels) -> str:
    return await _ask(sentinels) if sentinels.master is None else ""


async def _ask_nobody(sentinels: Sentinels) -> None:
    """Believe what was named for the last connection."""


async def _connect_to_the_first(sentinels: Sentinels) -> str:
    sentinels.located = SentinelPlaces(sentinels.located.places[:1])
    return await _ask(sentinels)


async def _ask_cluster_once(cluster: Cluster) -> str:
    return await _ask_cluster(cluster) if not cluster.claims else ""


async def _ask_place_once(place: ClusterPlace) -> str:
    return await _ask_cluster_once(place.cluster)


def _master_of_oldest_claim(cluster: Cluster, slot: int) -> object:
    covering = [
        claim
        for claim in cluster.claims
        if any(first <= slot <= last for first, last in claim.ranges)
    ]
    return min(covering, key=lambda claim: claim.epoch).server if covering else None


async def _leave_it_alone(former_masters: FormerMasters) -> None:
    """Neither ask nor fence a former master."""


def _do_nothing(*_: object) -> None:
    """Never begin."""


def _encode_no_reset(reason: str, position: int) -> bytes:
    return b""


SABOTAGES: dict[str, list[tuple[object, str, object]]] = {
    "catch-up": [(CatchUp, "run", _fill_only)],
    "ask-once": [(Sentinels, "ask", _ask_only_once)],
    "ask-first": [(Sentinels, "ask", _connect_to_the_first)],
    "former-master": [
        (Sentinels, "refresh", _ask_nobody),
        (Sentinels, "ask_soon", _do_nothing),
        (SentinelWatch, "start", _do_nothing),
    ],
    # A node that hears the sentinels leaves the former master before it takes anything more.
    "former-end": [
        (FormerMasters, "supersede", _leave_it_alone),
        (SentinelWatch, "start", _do_nothing),
    ],
    "cluster-ask-once": [
        (Cluster, "ask", _ask_cluster_once),
        (ClusterPlace, "ask", _ask_place_once),
        (ClusterPlace, "ask_soon", _do_nothing),
    ],
    "oldest-claim": [(Cluster, "master_of", _master_of_oldest_claim)],
    "moved-away": [
        (ShardSubscriberConnection, "_on_unsubscribed", _do_nothing),
        (LinkCheck, "_rebuild", _do_nothing),
    ],
    "dedupe": [(History, "append", _accept_everything)],
    "resets": [(module, "encode_reset", _encode_no_reset) for module in (opening, registry)],
}


if __name__ == "__main__":
    for owner, name, replacement in SABOTAGES[sys.argv.pop(1)]:
        assert hasattr(owner, name), name
        setattr(owner, name, replacement)
    main(prog_name="sse-node")

"""A node subscribes to the shards that its streams need, and to no others."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bench.harness import RedisProcess
from sse_node.config.reading import read_settings
from sse_node.node.composition import Node
from sse_node.redis.event_logs import Publication
from sse_node.redis.shard import Shard
from sse_node.wire.envelope import encode_envelope

SHARDS = 4


@pytest.fixture
async def node(valkey: RedisProcess) -> AsyncIterator[Node]:
    settings = read_settings(
        {"server_id": "node-1", "shards": str(SHARDS), "namespace": "lazy"}, {}
    )
    node = Node(settings, f"unix://{valkey.socket_path}")
    node.subscriptions.start()
    for shard in node.shards:
        shard.check.start()
    await asyncio.wait_for(node.shards.wait_usable(), 5)
    yield node
    for shard in node.shards:
        await shard.check.shutdown()
        await shard.replay.shutdown()
    await node.subscriptions.shutdown()
    await node.server_checks_task.shutdown()
    await node.server_figures_task.shutdown()
    await node.connections.shutdown()
    await node.job_reader.shutdown()


async def heard(node: Node) -> set[int]:
    """Return the numbers of the shards that somebody is subscribed to."""
    channels: list[bytes] = await node.commands.execute("PUBSUB", "SHARDCHANNELS", "lazy:shard*")
    return {int(channel.partition(b"shard")[2].partition(b"{")[0]) for channel in channels}


def serving(node: Node) -> set[int]:
    return {shard.number for shard in node.shards if shard.serving}


def user_of(node: Node, shard: Shard) -> str:
    names = (f"user-{number}" for number in range(100))
    return next(name for name in names if node.shards.of(name) is shard)


async def publish(node: Node, user: str, data: bytes) -> None:
    payload = encode_envelope(user, "t", data, broadcast=False)
    await node.logs.publish([Publication(user, "user-events", payload)])


async def test_only_the_first_shard_is_heard_from_the_start(node: Node) -> None:
    assert await heard(node) == {0}
    assert serving(node) == {0}
    assert node.shards.usable
    assert node.shards.figures() == {"shards": SHARDS, "shardsAway": []}


async def test_a_shard_is_heard_while_a_stream_needs_it(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = list(node.shards)[2]
    user = user_of(node, shard)
    await publish(node, user, b'"before"')
    assert await shard.want()
    assert await heard(node) == {0, 2}
    stream: Any = object()
    shard.hub.add(stream, (user,))
    monkeypatch.setattr("sse_node.redis.shard._KEEP_S", 0)
    node.shards.look()
    assert serving(node) == {0, 2}
    shard.hub.remove(stream, (user,))
    node.shards.look()
    assert serving(node) == {0}
    assert not shard.link.up.is_set()
    async with asyncio.timeout(5):
        while await heard(node) != {0}:
            """Each look is a round trip."""
    await publish(node, user, b'"meanwhile"')
    assert await shard.want()
    held = [payload for _, payload in shard.history.since(0, (user,))]
    assert b"before" in held[-2]
    assert b"meanwhile" in held[-1]


async def test_without_redis_a_shard_is_not_waited_for_for_long(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    await node.subscriptions.shutdown()
    monkeypatch.setattr("sse_node.redis.shard._WAIT_S", 0.01)
    assert not await list(node.shards)[1].want()

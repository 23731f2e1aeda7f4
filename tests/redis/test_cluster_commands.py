"""Commands to the server of a slot: sent again only where nothing was done."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from bench.harness import Cluster
from bench.harness.cluster import slot_of
from sse_node.errors import RedisError
from sse_node.redis.address import redis_address
from sse_node.redis.commands import RedisCommands
from sse_node.redis.connections import Connections
from sse_node.redis.event_log import EventLog
from sse_node.redis.keys import Keys, shard_keys
from sse_node.wire.envelope import USER_EVENTS, encode_envelope

EVENT = (USER_EVENTS.decode(), encode_envelope("ann", "t", b"1", broadcast=False))
KEYS = shard_keys(Keys(), 16)[0]
SLOT = slot_of(KEYS.log)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(replicas=0) as cluster:
        yield cluster


@pytest.fixture
async def connections(cluster: Cluster) -> AsyncIterator[Connections]:
    connections = Connections(
        redis_address(cluster.url), name="test", timeout_s=1.5, max_connections=4
    )
    yield connections
    await connections.shutdown()


@pytest.fixture
def log(connections: Connections) -> EventLog:
    return EventLog(connections.commands_for(KEYS.log), 1000, KEYS)


async def held(log: EventLog) -> int:
    return len(await log.read_from(0, 1000))


async def test_a_slot_that_has_moved_is_followed(cluster: Cluster, log: EventLog) -> None:
    await log.publish([EVENT])
    before = await held(log)
    here = cluster.master_of(SLOT)
    there = next(each for each in cluster.servers if each is not here)
    await asyncio.to_thread(cluster.move_slot, SLOT, there)
    await log.publish([EVENT])
    assert await held(log) == before + 1
    assert log.commands.failovers == 1


async def test_keys_on_their_way_are_asked_for_where_they_go(
    cluster: Cluster, log: EventLog
) -> None:
    await log.publish([EVENT])
    before = await held(log)
    source = cluster.master_of(SLOT)
    target = next(each for each in cluster.servers if each is not source)
    to, here = cluster.id_of(target), cluster.id_of(source)
    cluster.ask(target, "CLUSTER", "SETSLOT", SLOT, "IMPORTING", here)
    cluster.ask(source, "CLUSTER", "SETSLOT", SLOT, "MIGRATING", to)
    cluster.ask(source, "MIGRATE", "127.0.0.1", target.port, KEYS.log, 0, 5000)
    await log.publish([EVENT])  # the whole log is there already
    assert await held(log) == before + 1
    for server in (target, source, *cluster.servers):
        cluster.ask(server, "CLUSTER", "SETSLOT", SLOT, "NODE", to)
    await log.publish([EVENT])
    assert await held(log) == before + 2


async def test_a_server_that_is_away_is_tried_by_one_call_at_a_time(
    cluster: Cluster, connections: Connections, log: EventLog
) -> None:
    await log.publish([EVENT])
    silent = cluster.master_of(SLOT)
    other = next(
        keys for keys in shard_keys(Keys(), 16)
        if cluster.master_of(slot_of(keys.log)) is not silent
    )  # fmt: skip
    elsewhere: RedisCommands = connections.commands_for(other.log)
    cluster.suspend(silent)
    try:
        with pytest.raises(RedisError, match="no answer within"):
            await log.publish([EVENT])
        trying = asyncio.ensure_future(log.publish([EVENT]))
        await asyncio.sleep(0)
        for _ in range(100):
            with pytest.raises(RedisError, match="Redis is away"):
                await log.publish([EVENT])
        assert not trying.done()
        assert await elsewhere.execute("EXISTS", other.log) in {0, 1}
        with pytest.raises(RedisError):
            await trying
    finally:
        cluster.resume(silent)
    await log.publish([EVENT])

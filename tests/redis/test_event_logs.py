"""The logs of several shards: what goes where, and requests that are repeated."""

from collections.abc import AsyncIterator

import pytest

from sse_node.config.reading import read_settings
from sse_node.errors import RedisError, RequestError, ShardCountError
from sse_node.redis.address import redis_address
from sse_node.redis.commands import RedisCommands
from sse_node.redis.connections import Connections
from sse_node.redis.event_log import EventLog
from sse_node.redis.event_logs import EventLogs, Publication, make_log, open_logs
from sse_node.redis.keys import Keys, shard_keys
from sse_node.redis.shard_count import check_shard_count, if_redis_answers
from sse_node.redis.source_log import SourceEvent, SourceLog, SourceLogs
from sse_node.wire.envelope import encode_envelope

SHARDS = 4
BOUNDS = read_settings({"log_length": "1000"}, {}).history
# Users by their shard: the hash is fixed for ever.
USERS = {0: "user-1", 1: "user-7", 2: "user-3", 3: "user-0"}


def event(user: str, data: bytes = b"1") -> Publication:
    return Publication(user, "user-events", encode_envelope(user, "t", data, broadcast=False))


def to_all(data: bytes = b"1") -> Publication:
    payload = encode_envelope("system-events", "t", data, broadcast=True)
    return Publication("", "system-events", payload)


@pytest.fixture
def logs(commands: RedisCommands) -> EventLogs:
    keys = shard_keys(Keys(), SHARDS)
    return EventLogs([make_log(commands, each, BOUNDS, SHARDS) for each in keys])


@pytest.fixture
async def connections(redis_url: str) -> AsyncIterator[Connections]:
    address = redis_address(redis_url)
    connections = Connections(address, name="test", timeout_s=5, max_connections=2)
    yield connections
    await connections.shutdown()


async def held(log: EventLog) -> list[bytes]:
    return [entry.payload for entry in await log.read_from(0, 100)]


def test_the_users_are_of_these_shards(logs: EventLogs) -> None:
    assert {logs.shard_of(user): user for user in USERS.values()} == USERS


async def test_a_users_events_are_in_one_log(logs: EventLogs) -> None:
    ids = await logs.publish([event(USERS[2], b"1"), event(USERS[2], b"2")])
    assert len(set(ids)) == 2
    assert [len(await held(log)) for log in logs] == [0, 0, 2, 0]


async def test_a_channels_event_is_in_every_log_in_its_place(logs: EventLogs) -> None:
    events = [event(USERS[1], b"1"), to_all(b"2"), event(USERS[1], b"3"), event(USERS[3], b"4")]
    ids = await logs.publish(events)
    assert len(ids) == 4
    assert await held(logs[0]) == [events[1].payload]
    assert await held(logs[1]) == [each.payload for each in events[:3]]
    assert await held(logs[3]) == [events[1].payload, events[3].payload]
    first = await logs[0].read_from(0, 1)
    assert ids[1].encode() == b"%d-%d" % divmod(first[0].position, 1 << 64)


async def test_a_repeated_request_completes_what_is_missing(
    logs: EventLogs, commands: RedisCommands
) -> None:
    events = [event(USERS[0]), event(USERS[1]), to_all()]
    await commands.execute("SET", logs[1].keys.log, "no log")
    with pytest.raises(RedisError, match="WRONGTYPE"):
        await logs.publish(events, "key")
    assert [len(await held(log)) for log in (logs[0], logs[2], logs[3])] == [2, 1, 1]
    await commands.execute("DEL", logs[1].keys.log)
    ids = await logs.publish(events, "key")
    assert await logs.publish(events, "key") == ids
    assert [len(await held(log)) for log in logs] == [2, 2, 1, 1]


async def test_a_key_with_another_content_is_refused_in_any_shard(logs: EventLogs) -> None:
    await logs.publish([event(USERS[0])], "key")
    with pytest.raises(RequestError, match="another content"):
        await logs.publish([event(USERS[1])], "key")
    assert await held(logs[1]) == []


def test_account_ids_say_their_shard(logs: EventLogs) -> None:
    for shard, user in USERS.items():
        ids = [logs.account_id(number, user) for number in (1, 2, 3)]
        assert {logs.of_account(each) for each in ids} == {logs[shard]}
        assert {each % SHARDS for each in ids} == {shard}


def test_bounds_are_of_all_logs_together(commands: RedisCommands) -> None:
    log = make_log(commands, Keys(), BOUNDS, SHARDS)
    assert log.write_arguments()[0] == f"250:{BOUNDS.log_bytes // SHARDS}"


# The number of shards


async def test_the_first_number_of_shards_stays(
    commands: RedisCommands, connections: Connections
) -> None:
    await check_shard_count(commands, Keys(), 4)
    await check_shard_count(commands, Keys(), 4)
    for other in (1, 16):
        with pytest.raises(ShardCountError, match=f"{other} is not allowed; expected 4"):
            await check_shard_count(commands, Keys(), other)
    assert len(await open_logs(connections, Keys(), BOUNDS)) == 4


async def test_a_log_without_shards_is_one(
    commands: RedisCommands, log: EventLog, connections: Connections
) -> None:
    await check_shard_count(commands, Keys(), 1)
    await log.open()
    with pytest.raises(ShardCountError, match="4 is not allowed; expected 1"):
        await check_shard_count(commands, Keys(), 4)
    await check_shard_count(commands, Keys("other:"), 4)
    assert len(await open_logs(connections, Keys(), BOUNDS)) == 1


async def test_without_redis_a_node_starts_all_the_same(no_redis: RedisCommands) -> None:
    await if_redis_answers(lambda: check_shard_count(no_redis, Keys(), 4))


# Records of a source


async def test_records_are_published_once_whatever_was_done(logs: EventLogs) -> None:
    async def opened() -> EventLogs:
        return logs

    sources = SourceLogs(opened)
    events = [
        SourceEvent(number, "", each.channel, each.payload)
        for number, each in enumerate([event(USERS[1]), to_all(), event(USERS[3])])
    ]
    # The bridge ended after one shard had been written.
    await SourceLog(logs[3].commands, logs[3]).publish("s", "0", 2, [events[1], events[2]])
    assert await sources.position("s", "0") == -1
    assert await sources.publish("s", "0", 2, events) == 3
    assert await sources.position("s", "0") == 2
    assert await sources.publish("s", "0", 2, events) == 0
    assert [len(await held(log)) for log in logs] == [1, 2, 1, 2]

"""The log: appending and publishing in one step, and reading it back."""

import asyncio
from pathlib import Path

import pytest

from sse_node.app.event_log import (
    IDEMPOTENCY_KEEP_MS,
    LOG_KEY,
    PUBLISH,
    START_CHANNEL,
    EventLog,
    LogEntry,
    idempotency_record,
    probe_channel,
)
from sse_node.app.redis_commands import RedisCommands
from sse_node.errors import RedisError, RequestError
from sse_node.wire.envelope import decode_envelope, encode_envelope, position_of
from sse_node.wire.position import parse_position
from tests.fakes import FakeRedisServer

PAYLOAD = encode_envelope("1", "t", b"1", broadcast=False)
EVENT = ("user-events", PAYLOAD)


def position(event_id: str) -> int:
    parsed = parse_position(event_id)
    assert parsed is not None
    return parsed


# Entries


@pytest.mark.parametrize(
    ("channel", "payload", "audience"),
    [
        (b"user-events", PAYLOAD, "1"),
        (b"user-events", b'{"userId":7,"eventType":"t","data":1}', "7"),
        (b"user-events", b'{"eventType":"t","data":1}', ""),
        (b"user-events", b"", ""),
        (b"user-events", b"{", ""),
        (b"system-events", PAYLOAD, "#system-events"),
        (START_CHANNEL, b"{}", "#sse:start"),
        (b"\xff", PAYLOAD, "#\ufffd"),
    ],
)
def test_audience_of_an_entry(channel: bytes, payload: bytes, audience: str) -> None:
    assert LogEntry(5, channel, payload).audience == audience


def test_entry_as_the_message_that_was_pushed() -> None:
    assert LogEntry((5 << 64) + 1, b"user-events", PAYLOAD).as_message() == [
        b"message",
        b"user-events",
        b'{"id":"5-1","userId":"1","eventType":"t","data":1}',
    ]


def test_idempotency_record() -> None:
    assert idempotency_record("") == []
    assert idempotency_record("a b") == ["sse:idempotency:a b"]


# Publishing


async def test_event_is_in_the_log_and_on_its_channel_with_one_id(
    log: EventLog, commands: RedisCommands
) -> None:
    start = await log.open()
    async with asyncio.timeout(10), commands.client.pubsub() as subscriber:
        await subscriber.subscribe("user-events", "news")
        broadcast = encode_envelope("news", "t", b'"\xc3\xbc"', broadcast=True)
        ids = await log.publish([EVENT, ("news", broadcast)])
        pushed = []
        async for message in subscriber.listen():
            if message["type"] == "message":
                pushed.append([message["channel"], message["data"]])
            if len(pushed) == len(ids):
                break
    entries = (await log.read_from(start, 10))[1:]
    assert [entry.position for entry in entries] == [position(event_id) for event_id in ids]
    assert pushed == [entry.as_message()[1:] for entry in entries]
    assert position_of(decode_envelope(pushed[0][1], 1000)) == position(ids[0])


async def test_ids_rise_in_the_order_of_publishing(log: EventLog) -> None:
    ids = [each for _ in range(3) for each in await log.publish([EVENT] * 3)]
    assert sorted({position(each) for each in ids}) == [position(each) for each in ids]


async def test_nothing_is_published_of_nothing(log: EventLog) -> None:
    tail = await log.open()
    assert await log.publish([]) == []
    assert await log.open() == tail


async def test_key_gives_the_ids_of_the_first_time(log: EventLog, commands: RedisCommands) -> None:
    ids = await log.publish([EVENT, EVENT], "key")
    assert await log.publish([EVENT, EVENT], "key") == ids
    assert await log.publish([EVENT, EVENT], "other") != ids
    with pytest.raises(RequestError, match="it was used with another content") as caught:
        await log.publish([EVENT], "key")
    assert caught.value.status == 422
    (record,) = idempotency_record("key")
    assert 0 < await commands.execute("PTTL", record) <= IDEMPOTENCY_KEEP_MS


async def test_log_keeps_about_as_many_as_it_shall(commands: RedisCommands) -> None:
    await EventLog(commands, 100).publish([EVENT] * 1000)
    assert 100 <= await commands.execute("XLEN", LOG_KEY) < 300


async def test_script_is_told_when_it_is_given_up(log: EventLog, commands: RedisCommands) -> None:
    assert log.write_arguments() == (100_000, 0)  # until Redis' clock is known
    await log.probe("node-1", 1)
    seconds, microseconds = await commands.execute("TIME")
    now_ms = int(seconds) * 1000 + int(microseconds) / 1000
    length, not_after_ms = log.write_arguments()
    assert length == 100_000
    assert not_after_ms == pytest.approx(now_ms + commands.timeout_ms, abs=1000)


async def test_script_that_was_given_up_does_nothing(
    log: EventLog, commands: RedisCommands
) -> None:
    tail = await log.open()
    long_ago_ms = 1
    with pytest.raises(RedisError, match="LATE the sender has given this command up"):
        await commands.run(PUBLISH, [LOG_KEY], [100, long_ago_ms, 1000, *EVENT])
    assert await log.open() == tail


# Reading


async def test_empty_log_is_given_its_first_entry_once(log: EventLog) -> None:
    first = await log.open()
    assert await log.open() == first
    assert await log.read_from(0, 10) == [LogEntry(first, START_CHANNEL, b"{}")]


async def test_log_is_read_in_both_directions(log: EventLog) -> None:
    start = await log.open()
    ids = [position(each) for each in await log.publish([EVENT] * 5)]
    everything = [start, *ids]
    for i, each in enumerate(everything):
        found = [entry.position for entry in await log.read_from(each, 3)]
        assert found == everything[i : i + 3]
        found = [entry.position for entry in await log.read_back(each, 3)]
        assert found == everything[max(0, i - 3) : i][::-1]
    assert [entry.position for entry in await log.read_back(None, 2)] == [ids[4], ids[3]]
    assert [entry.position for entry in await log.read_from(ids[4] + 1, 2)] == []


async def test_log_says_which_ids_it_holds(log: EventLog, commands: RedisCommands) -> None:
    assert await log.find([5]) == (0, set())
    start = await log.open()
    ids = [position(each) for each in await log.publish([EVENT] * 3)]
    asked = [5, *ids, ids[0] - (1 << 64), ids[-1] + 1]
    assert await log.find(asked) == (start, set(ids))
    await commands.execute("XTRIM", LOG_KEY, "MAXLEN", 2)
    assert await log.find(asked) == (ids[1], set(ids[1:]))
    assert await log.find([]) == (ids[1], set())


async def test_entry_of_another_writer_may_lack_fields(
    log: EventLog, commands: RedisCommands
) -> None:
    await commands.execute("XADD", LOG_KEY, "5-1", "anything", "else")
    assert await log.read_from(0, 10) == [LogEntry((5 << 64) + 1, b"", b"{}")]


async def test_probe_is_heard_by_its_node_alone_and_answers_the_tail(
    log: EventLog, commands: RedisCommands
) -> None:
    async with asyncio.timeout(10), commands.client.pubsub() as subscriber:
        await subscriber.subscribe(probe_channel("node-1"), probe_channel("node-2"))
        assert await log.probe("node-1", 7) == 0
        tail = await log.open()
        assert await log.probe("node-2", 8) == tail
        heard = []
        async for message in subscriber.listen():
            if message["type"] == "message":
                heard.append((message["channel"], message["data"]))
            if len(heard) == 2:
                break
    assert heard == [(b"sse:probe:node-1", b"7"), (b"sse:probe:node-2", b"8")]
    assert await log.open() == tail


async def test_redis_away_is_our_error(no_redis: RedisCommands) -> None:
    log = EventLog(no_redis, 100)
    for asked in (
        log.open(),
        log.publish([EVENT]),
        log.read_from(0, 1),
        log.read_back(None, 1),
        log.find([1]),
        log.probe("node-1", 1),
    ):
        with pytest.raises(RedisError, match="Redis is away"):
            await asked


async def test_answer_that_redis_should_never_give_is_our_error(tmp_path: Path) -> None:
    server = FakeRedisServer(tmp_path / "redis.sock")
    server.answers = {b"EVALSHA": b"$3\r\nodd\r\n", b"XRANGE": b"*1\r\n*2\r\n$1\r\n5\r\n*0\r\n"}
    await server.start()
    commands = RedisCommands(f"unix://{server.path}", name="test", timeout_s=5, max_connections=1)
    log = EventLog(commands, 100)
    with pytest.raises(RedisError, match="an entry with id b'odd'"):
        await log.open()
    with pytest.raises(RedisError, match="an entry with id b'5'"):
        await log.read_from(0, 1)
    await commands.shutdown()
    await server.shutdown()

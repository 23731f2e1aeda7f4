"""The log on a real Redis: ids that rise and are nobody else's, keys that make retries harmless."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from bench.harness import RedisProcess
from sse_node.errors import RedisError, RequestError
from sse_node.redis.address import redis_address
from sse_node.redis.commands import NotAfter, RedisCommands
from sse_node.redis.event_log import NO_ID, PUBLISH, EventLog, volatile
from sse_node.redis.keys import LOG_KEY
from sse_node.wire.envelope import is_channel_name
from sse_node.wire.event_id import format_position, milliseconds_of, parse_position

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

EVENT = ("user-events", b'{"userId":"ann","eventType":"a.b","data":1}')


@pytest.fixture
async def commands() -> AsyncIterator[RedisCommands]:
    """Commands to a Redis of the test's own."""
    with RedisProcess() as redis:
        commands = RedisCommands(
            redis_address(redis.url), name="test", timeout_s=5, max_connections=2
        )
        yield commands
        await commands.shutdown()


async def test_ids_rise(commands: RedisCommands) -> None:
    log = EventLog(commands, 1000)
    ids = await log.publish([EVENT] * 100)
    positions = [parse_position(event_id) or 0 for event_id in ids]
    assert positions == sorted(set(positions))


async def test_ids_of_a_clock_that_was_set_back_are_nobody_elses(commands: RedisCommands) -> None:
    log = EventLog(commands, 1000)
    ahead_ms = int(time.time() * 1000) + 3_600_000
    await commands.execute("XADD", LOG_KEY, f"{ahead_ms}-5", "channel", "x", "payload", "{}")
    kept = parse_position((await log.publish([EVENT]))[0]) or 0
    lost = parse_position((await log.publish([EVENT]))[0]) or 0
    await commands.execute("XDEL", LOG_KEY, format_position(lost))  # a replica that never had it
    await commands.execute("XSETID", LOG_KEY, format_position(kept))
    instead = parse_position((await log.publish([EVENT]))[0]) or 0
    assert kept < min(lost, instead)
    assert milliseconds_of(lost) == milliseconds_of(instead) == milliseconds_of(kept) + 1
    assert lost != instead


async def test_a_key_publishes_once(commands: RedisCommands) -> None:
    log = EventLog(commands, 1000)
    first = await log.publish([EVENT, EVENT], "key")
    assert await log.publish([EVENT, EVENT], "key") == first
    assert await commands.execute("XLEN", LOG_KEY) == 2
    with pytest.raises(RequestError, match="another content"):
        await log.publish([EVENT], "key")


async def test_volatile_events_are_not_appended(commands: RedisCommands) -> None:
    log = EventLog(commands, 1000)
    channel, payload = EVENT
    ids = await log.publish([EVENT, (volatile(channel), payload), EVENT], "key")
    assert [event_id == NO_ID for event_id in ids] == [False, True, False]
    assert await commands.execute("XLEN", LOG_KEY) == 2
    assert await log.publish([EVENT, (volatile(channel), payload), EVENT], "key") == ids
    with pytest.raises(RequestError, match="another content"):
        await log.publish([EVENT] * 3, "key")
    assert await log.publish([(volatile(channel), payload)]) == [NO_ID]
    assert await commands.execute("XLEN", LOG_KEY) == 2


async def test_what_was_given_up_is_not_done_later(commands: RedisCommands) -> None:
    log = EventLog(commands, 1000)
    assert log.write_arguments()[1] is NotAfter.DEADLINE
    with pytest.raises(RedisError, match="given this command up"):
        await commands.run(PUBLISH, [LOG_KEY], [1000, 1, 0, *EVENT])
    assert await commands.execute("XLEN", LOG_KEY) == 0


async def test_a_log_keeps_its_name_and_a_new_one_has_another(commands: RedisCommands) -> None:
    log = EventLog(commands, 1000)
    await log.open()
    name = log.name
    assert len(name) == 16
    await log.publish([EVENT])
    await log.open()
    assert log.name == name
    await commands.execute("DEL", log.keys.log)
    await log.open()
    assert log.name != name


async def test_a_log_that_is_written_before_it_is_opened_has_a_name(
    commands: RedisCommands,
) -> None:
    log = EventLog(commands, 1000)
    await log.publish([EVENT])
    await log.open()
    assert len(log.name) == 16
    (entry,) = await log.read_from(0, 10)
    assert not entry.mark


async def test_the_script_publishes_on_every_channel_that_is_allowed(
    commands: RedisCommands,
) -> None:
    names = [chr(byte) for byte in range(256) if is_channel_name(chr(byte))]
    channels = [*names, "%d+", "sse:news", "x" * 255]
    log = EventLog(commands, 1000)
    tail = await log.open()
    await log.publish([(channel, EVENT[1]) for channel in channels])
    entries = (await log.read_from(tail, 200))[1:]
    assert [entry.channel.decode() for entry in entries] == channels


@pytest.mark.parametrize(
    ("key", "channel", "error"),
    [
        ("other", "user-events", "expected the key of an event log"),
        ("sse:log:2", "user-events", "expected the key of an event log"),
        ("sse:log", "", "not one of an event"),
        ("sse:log", "a b", "not one of an event"),
        ("sse:log", "a,b", "not one of an event"),
        ("sse:log", "volatile ", "not one of an event"),
        ("sse:log", "volatile volatile a", "not one of an event"),
        ("sse:log", "volatile sse:probe:node-1", "not one of an event"),
        ("sse:log", 'a"', "not one of an event"),
        ("sse:log", "a\\b", "not one of an event"),
        ("sse:log", "a\n", "not one of an event"),
        ("sse:log", "\x7f", "not one of an event"),
        ("sse:log", "x" * 256, "not one of an event"),
        ("sse:log", "sse:probe:node-1", "not one of an event"),
    ],
)
async def test_the_script_rejects_keys_and_channels_that_are_not_ours(
    commands: RedisCommands, key: str, channel: str, error: str
) -> None:
    with pytest.raises(RedisError, match=error):
        await commands.run(PUBLISH, [key], [100, 0, 1000, channel, EVENT[1]])
    assert await commands.execute("EXISTS", key) == 0


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((100, 0, "", *EVENT), "expected milliseconds"),
        ((100, 0, "-1", *EVENT), "expected milliseconds"),
        ((100, 0, "1e3", *EVENT), "expected milliseconds"),
        ((100, 0, 1000, *EVENT, "user-events"), "expected a payload for each channel"),
        ((100, 0, 1000, 5, *EVENT), "expected a payload for each channel"),
    ],
)
async def test_the_script_rejects_arguments_before_it_does_anything(
    commands: RedisCommands, arguments: tuple[str | bytes | int, ...], error: str
) -> None:
    """Neither half of the events nor a record without an end is left."""
    with pytest.raises(RedisError, match=error):
        await commands.run(PUBLISH, [LOG_KEY, "sse:idempotency:x"], arguments)
    assert await commands.execute("KEYS", "*") == []

"""Publishing the records of sources: each once, with how far a part has come in the same step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sse_node.errors import RedisError
from sse_node.redis.source_log import SourceEvent, SourceLog
from sse_node.wire.envelope import encode_envelope

if TYPE_CHECKING:
    from sse_node.redis.commands import RedisCommands
    from sse_node.redis.event_log import EventLog

SOURCE = "kafka:group:topic"


@pytest.fixture
def source_log(commands: RedisCommands, log: EventLog) -> SourceLog:
    return SourceLog(commands, log)


def event(position: int, key: str = "") -> SourceEvent:
    payload = encode_envelope("ann", "order.paid", b"%d" % position, broadcast=False)
    return SourceEvent(position, key, "user-events", payload)


async def published(log: EventLog) -> list[bytes]:
    entries = await log.read_from(0, 1000)
    return [entry.payload for entry in entries if not entry.mark]


async def test_records_are_published_in_order_once(source_log: SourceLog, log: EventLog) -> None:
    assert await source_log.position(SOURCE, "0") == -1
    assert await source_log.publish(SOURCE, "0", 4, [event(3), event(4)]) == 2
    assert await source_log.publish(SOURCE, "0", 5, [event(3), event(4), event(5)]) == 1
    assert await source_log.publish(SOURCE, "0", 4, [event(4)]) == 0
    assert await source_log.position(SOURCE, "0") == 5
    assert await published(log) == [event(each).payload for each in (3, 4, 5)]


async def test_parts_and_sources_have_positions_of_their_own(source_log: SourceLog) -> None:
    await source_log.publish(SOURCE, "0", 7, [event(7)])
    assert await source_log.publish(SOURCE, "1", 7, [event(7)]) == 1
    assert await source_log.publish("kafka:group:other", "0", 7, [event(7)]) == 1


async def test_records_without_an_event_count_too(source_log: SourceLog, log: EventLog) -> None:
    assert await source_log.publish(SOURCE, "0", 9, []) == 0
    assert await source_log.position(SOURCE, "0") == 9
    assert await source_log.publish(SOURCE, "0", 9, [event(8), event(9)]) == 0
    assert await published(log) == []


async def test_offsets_beyond_what_a_double_holds_in_short_form(source_log: SourceLog) -> None:
    position = 2**52 + 1
    await source_log.publish(SOURCE, "0", position, [event(position)])
    assert await source_log.position(SOURCE, "0") == position
    assert await source_log.publish(SOURCE, "0", position, [event(position)]) == 0
    assert await source_log.publish(SOURCE, "0", position + 1, [event(position + 1)]) == 1


async def test_without_positions_the_key_counts(source_log: SourceLog, log: EventLog) -> None:
    assert await source_log.publish("amqp::q", "", 0, [event(0, "a"), event(0), event(0, "b")]) == 3
    assert await source_log.publish("amqp::q", "", 0, [event(0, "b"), event(0), event(0, "c")]) == 2
    assert len(await published(log)) == 5
    assert await source_log.position("amqp::q", "") == -1


async def test_a_key_that_stands_twice_in_a_batch(source_log: SourceLog) -> None:
    assert await source_log.publish("amqp::q", "", 0, [event(0, "a"), event(0, "a")]) == 1


async def test_marks_of_keys_go_away(source_log: SourceLog, commands: RedisCommands) -> None:
    await source_log.publish("amqp::q", "", 0, [event(0, "a")])
    left_ms = await commands.execute("PTTL", "sse:idempotency:a")
    assert 590_000 < left_ms <= 600_000


async def test_of_two_bridges_with_the_same_records_one_publishes_each(
    source_log: SourceLog, log: EventLog
) -> None:
    """A member that has lost its partition and does not know it yet disturbs nothing."""
    counts = []
    for begin in range(0, 200, 10):
        batch = [event(each) for each in range(begin, begin + 20)]
        counts.append(await source_log.publish(SOURCE, "0", batch[-1].position, batch))
    assert sum(counts) == 210
    assert await published(log) == [event(each).payload for each in range(210)]


async def test_redis_away(no_redis: RedisCommands, log: EventLog) -> None:
    away = SourceLog(no_redis, log)
    with pytest.raises(RedisError):
        await away.publish(SOURCE, "0", 1, [event(1)])
    with pytest.raises(RedisError):
        await away.position(SOURCE, "0")

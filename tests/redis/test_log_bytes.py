"""The bound of the log in bytes, on real servers: about that many are kept, whatever the sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench.harness import RedisProcess, valkey_binary
from sse_node.config.reading import all_settings, name_of
from sse_node.errors import RedisError
from sse_node.redis.address import redis_address
from sse_node.redis.commands import RedisCommands
from sse_node.redis.event_log import DEFAULT_LOG_BYTES, PUBLISH, EventLog
from sse_node.redis.keys import LOG_KEY, Keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KIB, MIB = 1024, 1024 * 1024
LIMIT = 4 * MIB


@pytest.fixture(params=["redis", "valkey"])
async def commands(request: pytest.FixtureRequest) -> AsyncIterator[RedisCommands]:
    """Commands to a server of the test's own."""
    binary = "redis-server" if request.param == "redis" else valkey_binary()
    with RedisProcess(binary) as redis:
        commands = RedisCommands(
            redis_address(redis.url), name="test", timeout_s=5, max_connections=2
        )
        yield commands
        await commands.shutdown()


def event(size: int) -> tuple[str, bytes]:
    payload = b'{"userId":"ann","eventType":"a.b","data":"%b"}'
    return "user-events", payload % (b"x" * (size - len(payload) + 2))


async def kept(commands: RedisCommands) -> list[int]:
    """Return the size of each event that the log holds, oldest first."""
    entries = await commands.execute("XRANGE", LOG_KEY, "-", "+")
    return [len(fields[b"payload"]) for _, fields in entries if b"channel" in fields]


@pytest.mark.parametrize(
    ("size", "at_once"),
    [(600, 200), (4 * KIB, 20), (50 * KIB, 3), (262_144, 1)],
    ids=lambda value: str(value),
)
async def test_the_log_holds_about_its_bytes(
    commands: RedisCommands, size: int, at_once: int
) -> None:
    log = EventLog(commands, 1_000_000, log_bytes=LIMIT)
    bytes_at_once = at_once * len(event(size)[1])
    # A hundredth between two looks, the events of one millisecond, and one node of the stream.
    tolerance = LIMIT // 100 + 2 * bytes_at_once + 8 * KIB
    for number in range(3 * LIMIT // bytes_at_once):
        await log.publish([event(size)] * at_once)
        if number % 16 == 0:
            assert sum(await kept(commands)) <= LIMIT + tolerance
    assert abs(sum(await kept(commands)) - LIMIT) <= tolerance


async def test_sizes_may_differ(commands: RedisCommands) -> None:
    log = EventLog(commands, 1_000_000, log_bytes=LIMIT)
    for number in range(200):
        await log.publish([event(60)] * 20)
        await log.publish([event(200 * KIB if number % 3 else 100)])
    total = sum(await kept(commands))
    assert 0.9 * LIMIT <= total <= 1.1 * LIMIT


async def test_nothing_is_dropped_without_a_bound(commands: RedisCommands) -> None:
    log = EventLog(commands, 1_000_000, log_bytes=0)
    for _ in range(10):
        await log.publish([event(200 * KIB)] * 5)
    assert len(await kept(commands)) == 50


async def test_length_counts_as_well(commands: RedisCommands) -> None:
    log = EventLog(commands, 100, log_bytes=LIMIT)
    for _ in range(100):
        await log.publish([event(60 * KIB)])
        await log.publish([event(50)] * 50)
    assert len(await kept(commands)) <= 300


async def test_a_bound_that_is_lowered_is_reached_in_bounded_steps(
    commands: RedisCommands,
) -> None:
    unbounded = EventLog(commands, 1_000_000, log_bytes=0)
    for _ in range(60):
        await unbounded.publish([event(50)] * 1000)
    log = EventLog(commands, 100_000, log_bytes=MIB)
    lengths = [60_000]
    while lengths[-1] > 25_000:
        await log.publish([event(50)] * 100)  # half of the step between two looks
        lengths.append(await commands.execute("XLEN", LOG_KEY))
        assert lengths[-2] - lengths[-1] <= 10_000
    assert len(lengths) > 4
    assert sum(await kept(commands)) <= 1.1 * MIB


async def test_entries_of_other_programs_and_of_earlier_versions(commands: RedisCommands) -> None:
    for _ in range(300):
        old = ("channel", "user-events", "payload", b'{"x":"%b"}' % (b"x" * 20 * KIB))
        await commands.execute("XADD", LOG_KEY, "*", *old)
    log = EventLog(commands, 1_000_000, log_bytes=LIMIT)
    for number in range(900):
        await log.publish([event(20 * KIB)])
        if number % 7 == 0:
            await commands.execute("XADD", LOG_KEY, "*", "channel", "x", "payload", "{}")
        if number == 300:
            for _ in range(150):  # far more than are searched for a total: it begins anew
                await commands.execute("XADD", LOG_KEY, "*", "channel", "x", "payload", "{}")
        if number % 100 == 99:
            # Totals from before those began anew are in the way until these have passed them.
            assert sum(await kept(commands)) <= 2.1 * LIMIT + 300 * 20 * KIB * (number < 800)
    assert 0.9 * LIMIT <= sum(await kept(commands)) <= 1.1 * LIMIT


async def test_the_log_never_drops_what_it_was_just_given(commands: RedisCommands) -> None:
    log = EventLog(commands, 1_000_000, log_bytes=1)
    for _ in range(5):
        ids = await log.publish([event(KIB)] * 10)
        ((last, _),) = await commands.execute("XREVRANGE", LOG_KEY, "+", "-", "COUNT", 1)
        assert last.decode() == ids[-1]


async def test_ids_beyond_the_integers_of_lua(commands: RedisCommands) -> None:
    """A foreign id there must not stop the log."""
    foreign_ms = 2**63 + 1
    entry = ("channel", "x", "payload", "{}")
    await commands.execute("XADD", LOG_KEY, f"{foreign_ms}-7", *entry)
    log = EventLog(commands, 1_000_000, log_bytes=LIMIT)
    ids = await log.publish([event(60)] * 2)
    assert ids == [f"{foreign_ms}-8", f"{foreign_ms}-9"]
    for _ in range(100):
        await log.publish([event(200 * KIB)])
    assert len(await kept(commands)) >= 1


async def test_totals_begin_anew_after_the_integers_of_lua(commands: RedisCommands) -> None:
    entry = ("channel", "user-events", "payload", "{}", "total", 2**53 - 2)
    await commands.execute("XADD", LOG_KEY, "*", *entry)
    log = EventLog(commands, 1_000_000, log_bytes=LIMIT)
    for _ in range(100):
        await log.publish([event(100 * KIB)])
    ((_, fields),) = await commands.execute("XREVRANGE", LOG_KEY, "+", "-", "COUNT", 1)
    assert int(fields[b"total"]) == 100 * len(event(100 * KIB)[1]) - 2
    assert 0.9 * LIMIT <= sum(await kept(commands)) <= 1.1 * LIMIT


@pytest.mark.parametrize("bounds", ["1000", "1000:", f"1000:{DEFAULT_LOG_BYTES}"])
async def test_who_names_no_bytes_has_the_default(commands: RedisCommands, bounds: str) -> None:
    for number in range(1, 301):  # a node of a stream, 100 entries, is dropped as a whole
        total = number if number <= 150 else DEFAULT_LOG_BYTES + number
        entry = ("channel", "x", "payload", "{}", "total", total)
        await commands.execute("XADD", LOG_KEY, f"{number}-0", *entry)
    large = b"x" * (DEFAULT_LOG_BYTES // 100)
    await commands.run(PUBLISH, [LOG_KEY], [bounds, 0, 0, "user-events", large])
    first = (await commands.execute("XRANGE", LOG_KEY, "-", "+", "COUNT", 1))[0][0]
    assert first == b"101-0"


def test_the_default_is_that_of_the_setting() -> None:
    (setting,) = (item for _, item in all_settings() if name_of(item) == "log_bytes")
    assert int(setting.metadata["default"]) == DEFAULT_LOG_BYTES
    assert f"or {DEFAULT_LOG_BYTES} " in PUBLISH.text


@pytest.mark.parametrize("bounds", ["", "x", "-1", "100:x", "1 2", "100:1:2"])
async def test_bounds_that_are_none(commands: RedisCommands, bounds: str) -> None:
    with pytest.raises(RedisError, match="expected LENGTH or LENGTH:BYTES"):
        await commands.run(PUBLISH, [LOG_KEY], [bounds, 0, 0, *event(60)])
    assert await commands.execute("EXISTS", LOG_KEY) == 0


async def test_a_log_of_a_namespace(commands: RedisCommands) -> None:
    keys = Keys("blue:")
    log = EventLog(commands, 1_000_000, keys, LIMIT)
    for _ in range(60):
        await log.publish([event(200 * KIB)])
    assert await commands.execute("XLEN", keys.log) <= LIMIT // (200 * KIB) + 2

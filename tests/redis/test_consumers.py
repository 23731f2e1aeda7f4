"""Consumers that nobody uses are removed; one with a pending entry never is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from bench.harness import RedisProcess, valkey_binary
from sse_node.redis.address import redis_address
from sse_node.redis.commands import RedisCommands
from sse_node.redis.consumers import Consumers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

STREAM, GROUP = "sse:jobs", "snapshots"
LONG_S = 3600.0


@pytest.fixture(params=["redis", "valkey"])
async def commands(request: pytest.FixtureRequest) -> AsyncIterator[RedisCommands]:
    """Commands to a server of the test's own, with a group."""
    binary = "redis-server" if request.param == "redis" else valkey_binary()
    with RedisProcess(binary) as redis:
        commands = RedisCommands(
            redis_address(redis.url), name="test", timeout_s=5, max_connections=3
        )
        await commands.execute("XGROUP", "CREATE", STREAM, GROUP, "0", "MKSTREAM")
        yield commands
        await commands.shutdown()


async def read(commands: RedisCommands, name: str) -> None:
    """Read as a consumer; before Redis 7.2 that makes one only if there is something to read."""
    await commands.execute("XGROUP", "CREATECONSUMER", STREAM, GROUP, name)
    await commands.execute("XREADGROUP", "GROUP", GROUP, name, "COUNT", 1, "STREAMS", STREAM, ">")


async def names(commands: RedisCommands) -> set[bytes]:
    found = await commands.call(commands.client.xinfo_consumers(STREAM, GROUP))
    return {consumer["name"] for consumer in found}


async def test_the_named_one_and_the_idle_are_removed(commands: RedisCommands) -> None:
    for name in ("ending", "other"):
        await read(commands, name)
    await Consumers(commands, STREAM, GROUP, LONG_S).remove("ending")
    assert await names(commands) == {b"other"}
    await Consumers(commands, STREAM, GROUP, 0).remove("nobody")
    assert await names(commands) == set()


async def test_one_with_a_pending_entry_stays_until_it_is_claimed(
    commands: RedisCommands,
) -> None:
    await commands.execute("XADD", STREAM, "*", "job", "x")
    await read(commands, "killed")
    consumers = Consumers(commands, STREAM, GROUP, 0)
    await consumers.remove("killed")
    assert await names(commands) == {b"killed"}
    _, claimed, *_ = await commands.execute(
        "XAUTOCLAIM", STREAM, GROUP, "living", 0, "0-0", "COUNT", 10
    )
    assert len(claimed) == 1
    await consumers.remove("")
    assert await names(commands) == {b"living"}
    pending = await commands.execute("XPENDING", STREAM, GROUP)
    assert pending["pending"] == 1


async def test_one_that_is_reading_comes_back(commands: RedisCommands) -> None:
    await commands.execute("XGROUP", "CREATECONSUMER", STREAM, GROUP, "slow")
    reading = asyncio.create_task(
        commands.execute(
            *("XREADGROUP", "GROUP", GROUP, "slow", "BLOCK", 4000, "STREAMS", STREAM, ">")
        )
    )
    async with asyncio.timeout(5):
        while not (await commands.execute("INFO", "clients"))["blocked_clients"]:  # noqa: ASYNC110
            await asyncio.sleep(0)
    await Consumers(commands, STREAM, GROUP, 0).remove("")
    assert await names(commands) == set()
    await commands.execute("XADD", STREAM, "*", "job", "x")
    assert len(await reading) == 1
    assert await names(commands) == {b"slow"}
    pending = await commands.execute("XPENDING", STREAM, GROUP)
    assert pending["pending"] == 1


async def test_it_looks_once_in_the_idle_time(commands: RedisCommands) -> None:
    consumers = Consumers(commands, STREAM, GROUP, LONG_S)
    await consumers.remove_idle()
    await read(commands, "gone")
    before = await calls_of(commands)
    for _ in range(10):
        await consumers.remove_idle()
    assert await calls_of(commands) == before


async def calls_of(commands: RedisCommands) -> int:
    statistics = await commands.execute("INFO", "commandstats")
    return sum(
        int(facts["calls"]) for name, facts in statistics.items() if name.startswith("cmdstat_eval")
    )


@pytest.mark.parametrize("command", ["xinfo|consumers", "xgroup|delconsumer"])
async def test_a_refusal_is_one_warning(
    commands: RedisCommands, caplog: pytest.LogCaptureFixture, command: str
) -> None:
    await read(commands, "gone")
    await commands.execute("ACL", "SETUSER", "default", f"-{command}")
    consumers = Consumers(commands, STREAM, GROUP, 0)
    caplog.clear()
    for _ in range(3):
        await consumers.remove_idle()
    assert [record.getMessage().partition(":jobs: ")[0] for record in caplog.records] == [
        "consumers of ended nodes stay in sse"
    ]
    assert commands.failures == 0


async def test_a_missing_stream_or_group_is_nothing(
    commands: RedisCommands, caplog: pytest.LogCaptureFixture
) -> None:
    consumers = Consumers(commands, STREAM, GROUP, 0)
    await commands.execute("XGROUP", "DESTROY", STREAM, GROUP)
    await consumers.remove("any")
    await commands.execute("DEL", STREAM)
    await consumers.remove("any")
    await commands.execute("XGROUP", "CREATE", STREAM, GROUP, "0", "MKSTREAM")
    await read(commands, "any")
    await consumers.remove("any")
    assert await names(commands) == set()
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


async def test_nothing_is_asked_of_a_redis_that_is_away(no_redis: RedisCommands) -> None:
    await Consumers(no_redis, STREAM, GROUP, 0).remove("any")
    assert no_redis.failures == 0

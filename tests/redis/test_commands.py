"""Commands to a real Redis: errors translated, time limits kept, cancels not lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from bench.harness import RedisProcess
from sse_node.errors import RedisError
from sse_node.redis.address import RedisAddress, redis_address
from sse_node.redis.commands import RedisCommands, Script

if TYPE_CHECKING:
    from pathlib import Path


def commands_of(redis: RedisProcess, timeout_s: float = 5.0) -> RedisCommands:
    return RedisCommands(
        redis_address(redis.url), name="test", timeout_s=timeout_s, max_connections=2
    )


async def test_a_script_that_redis_has_forgotten_is_sent_again(redis: RedisProcess) -> None:
    commands = commands_of(redis)
    script = Script("log", "open_log")
    first = await commands.run(script, ["test:log"], [])
    await commands.execute("SCRIPT", "FLUSH")
    assert await commands.run(script, ["test:log"], []) == first
    assert commands.up
    await commands.shutdown()


async def test_what_redis_refuses_is_our_error(redis: RedisProcess) -> None:
    commands = commands_of(redis)
    await commands.execute("SET", "test:string", "x")
    with pytest.raises(RedisError, match="WRONGTYPE"):
        await commands.execute("RPUSH", "test:string", "x")
    await commands.shutdown()


async def test_a_redis_that_is_not_there_is_our_error() -> None:
    commands = RedisCommands(
        RedisAddress(unix_socket_path="/nonexistent/redis.sock"),
        name="test",
        timeout_s=1,
        max_connections=1,
    )
    with pytest.raises(RedisError, match="away"):
        await commands.execute("PING")
    assert not commands.up
    assert commands.failures == 1
    await commands.shutdown()


async def test_a_master_that_became_a_replica_is_left_for_who_is_there_now(tmp_path: Path) -> None:
    with RedisProcess() as old, RedisProcess() as new:
        address = tmp_path / "redis.sock"
        address.symlink_to(old.socket_path)
        met: list[str] = []
        commands = RedisCommands(
            RedisAddress(unix_socket_path=str(address)),
            name="test",
            timeout_s=5,
            max_connections=4,
            on_read_only=lambda: met.append("replica"),
        )
        await asyncio.gather(*(commands.execute("SET", "test:key", "x") for _ in range(4)))
        address.unlink()
        address.symlink_to(new.socket_path)
        await commands.execute("REPLICAOF", "127.0.0.1", 1)  # whoever that is
        with pytest.raises(RedisError, match="replica"):
            await commands.execute("SET", "test:key", "y")
        assert met == ["replica"]
        await asyncio.gather(*(commands.execute("SET", "test:key", "z") for _ in range(4)))
        await commands.shutdown()


async def test_a_command_ends_within_its_time(redis: RedisProcess) -> None:
    commands = commands_of(redis, timeout_s=0.1)
    loop = asyncio.get_running_loop()
    started = loop.time()
    with pytest.raises(RedisError, match="away"):
        await commands.execute("BLPOP", "test:nothing", 5)
    assert loop.time() - started < 1
    await commands.shutdown()


async def test_a_cancel_that_the_answer_overtakes_is_not_lost(redis: RedisProcess) -> None:
    commands = commands_of(redis)

    async def answer_and_swallow() -> str:
        with pytest.raises(asyncio.CancelledError):
            await asyncio.sleep(5)
        return "answered"

    async def loop_for_ever() -> None:
        while True:
            await commands.call(answer_and_swallow())

    task = asyncio.create_task(loop_for_ever())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 2)
    await commands.shutdown()

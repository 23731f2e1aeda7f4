"""Scripts that write stop at the deadline of their sender, whatever the server's clock does."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from redis.exceptions import ResponseError

from bench.chaos.environment import Clock
from bench.harness import RedisProcess
from sse_node.errors import RedisError
from sse_node.redis.address import RedisAddress, redis_address
from sse_node.redis.commands import NotAfter, RedisCommands, Script

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

TIMEOUT_S = 0.5
SCRIPT = Script("tell", "log", "publish")
LOG = ["sse:log"]
EVENT = (b"user-events", b'{"userId":"ann","eventType":"a.b","data":1}')
ARGUMENTS = (1000, NotAfter.DEADLINE, 0, *EVENT)


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path)


@pytest.fixture
def redis(clock: Clock) -> Iterator[RedisProcess]:
    """A server whose clock the test sets."""
    with RedisProcess(env=clock.environment()) as redis:
        yield redis


@pytest.fixture
async def commands(redis: RedisProcess) -> AsyncIterator[RedisCommands]:
    commands = RedisCommands(
        redis_address(redis.url), name="test", timeout_s=TIMEOUT_S, max_connections=1
    )
    yield commands
    await commands.shutdown()


async def redis_time_s(commands: RedisCommands) -> int:
    seconds, _ = await commands.execute("TIME")
    return int(seconds)


async def test_the_clock_of_the_server_is_set(commands: RedisCommands, clock: Clock) -> None:
    before = await redis_time_s(commands)
    clock.set(3600)
    assert await redis_time_s(commands) >= before + 3600


@pytest.mark.parametrize("offset_s", [-3600, 3600], ids=["behind", "ahead"])
async def test_a_clock_that_differs_from_ours_does_not_matter(
    commands: RedisCommands, clock: Clock, offset_s: int
) -> None:
    clock.set(offset_s)
    assert await commands.run(SCRIPT, LOG, ARGUMENTS)


async def test_a_clock_that_jumps_ahead_fails_no_command(
    commands: RedisCommands, clock: Clock
) -> None:
    await commands.run(SCRIPT, LOG, ARGUMENTS)
    for offset_s in (5, 3600):
        clock.set(offset_s)
        assert await commands.run(SCRIPT, LOG, ARGUMENTS)
    assert commands.failures == 0


async def test_the_first_command_is_not_carried_out_late(
    redis: RedisProcess, commands: RedisCommands
) -> None:
    """Redis stops between the reply to TIME and the script, as it does for a fork or a swap."""
    await commands.execute("PING")  # connected; nothing has been written
    await stopped_command_does_nothing(redis, commands)


async def test_a_command_to_the_next_server_goes_by_that_server_s_clock(tmp_path: Path) -> None:
    clock = Clock(tmp_path)
    with RedisProcess() as old, RedisProcess(env=clock.environment()) as new:
        clock.set(3600)  # by the old clock, nothing would be late for an hour
        address = tmp_path / "redis.sock"
        address.symlink_to(old.socket_path)
        commands = RedisCommands(
            RedisAddress(unix_socket_path=str(address)),
            name="test",
            timeout_s=TIMEOUT_S,
            max_connections=1,
        )
        await commands.run(SCRIPT, LOG, ARGUMENTS)
        address.unlink()
        address.symlink_to(new.socket_path)
        old.stop()
        with pytest.raises(RedisError, match="away"):
            await commands.execute("PING")
        await commands.execute("PING")  # connects to the new server
        await stopped_command_does_nothing(new, commands)
        await commands.shutdown()


async def stopped_command_does_nothing(redis: RedisProcess, commands: RedisCommands) -> None:
    """Give a command up while Redis is stopped; assert that Redis does not run it afterwards."""
    await commands.run(SCRIPT, LOG, ARGUMENTS)
    length = await commands.execute("XLEN", *LOG)
    redis.suspend()
    with pytest.raises(RedisError, match="no answer"):
        await commands.run(SCRIPT, LOG, ARGUMENTS)
    redis.resume()
    async with asyncio.timeout(10):
        while True:
            try:
                assert await commands.execute("XLEN", *LOG) == length
            except RedisError:
                await asyncio.sleep(0.01)
            else:
                break


async def test_a_stall_of_this_process_is_not_taken_for_redis_(commands: RedisCommands) -> None:
    await commands.execute("PING")
    asked = asyncio.ensure_future(commands.execute("PING"))
    for _ in range(3):
        await asyncio.sleep(0)  # the command is on its way
    time.sleep(2 * TIMEOUT_S + 0.5)  # noqa: ASYNC251  (as if the process had been stopped)
    assert await asked
    assert commands.failures == 0


async def test_commands_are_sent_at_once(commands: RedisCommands) -> None:
    answers = await commands.execute_all(("SET", "a", 1), ("GET", "a"), ("LRANGE", "b", 0, -1))
    assert answers == [b"OK", b"1", []]


async def test_a_refusal_among_commands_leaves_the_connection_in_order(
    commands: RedisCommands,
) -> None:
    number = await commands.execute("CLIENT", "ID")
    with pytest.raises(RedisError, match="WRONGTYPE"):
        await commands.execute_all(
            ("SET", "a", 1), ("LLEN", "a"), ("NONSENSE",), ("INCRBY", "a", 6)
        )
    connection = await commands._get_connection()
    try:
        assert await connection.ask_all([("GET", "a"), ("PING",)]) == [b"7", b"PONG"]
        with pytest.raises(ResponseError):
            await connection.ask_all([("LLEN", "a"), ("PING",)])
        assert await connection.ask("GET", "a") == b"7"
    finally:
        await commands._pool.release(connection)
    assert await commands.execute("CLIENT", "ID") == number, "it is the same connection"


async def test_commands_that_are_given_up_leave_no_answer_behind(
    redis: RedisProcess, commands: RedisCommands
) -> None:
    await commands.execute("SET", "a", 1)
    redis.suspend()
    with pytest.raises(RedisError, match="no answer"):
        await commands.execute_all(("GET", "a"), ("GET", "a"))
    redis.resume()
    assert await commands.execute("PING") is True

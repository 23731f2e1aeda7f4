"""What is warned of: a real Redis with one setting that loses events, or a command renamed away."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from bench.harness import RedisProcess
from sse_node.redis.address import redis_address
from sse_node.redis.commands import RedisCommands
from sse_node.redis.server_checks import CHECKS, ServerChecks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from typing import Any

    Check = Callable[..., Coroutine[Any, Any, ServerChecks]]

BURST_BYTES = 1024 * 1024
GOOD = ("--save", "3600 1", "--client-output-buffer-limit", "pubsub 33554432 8388608 60")


@pytest.fixture
async def check() -> AsyncIterator[Check]:
    """Run the checks on a Redis with further arguments."""
    made: list[RedisCommands] = []

    async def check(*arguments: str) -> ServerChecks:
        with RedisProcess(args=(*GOOD, *arguments)) as redis:
            commands = RedisCommands(
                redis_address(redis.url), name="test", timeout_s=5, max_connections=1
            )
            made.append(commands)
            checks = ServerChecks(lambda: [commands], BURST_BYTES)
            await checks.run()
            await checks.run()
        return checks

    yield check
    for commands in made:
        await commands.shutdown()


async def test_a_good_server_has_no_warnings(
    check: Check, caplog: pytest.LogCaptureFixture
) -> None:
    checks = await check()
    assert checks.warnings == {}
    assert checks.obstacle == ""
    assert caplog.records == []


@pytest.mark.parametrize(
    ("arguments", "name", "text"),
    [
        (
            ("--maxmemory-policy", "allkeys-lru"),
            "eviction",
            "maxmemory-policy is allkeys-lru; expected noeviction",
        ),
        (("--save", "", "--appendonly", "no"), "persistence", "nothing is saved on disk"),
        (
            ("--client-output-buffer-limit", "pubsub 4096 0 0"),
            "output-buffer",
            "client-output-buffer-limit pubsub is 4096 bytes",
        ),
    ],
)
async def test_a_setting_that_loses_events_is_one_warning(
    check: Check,
    caplog: pytest.LogCaptureFixture,
    arguments: tuple[str, ...],
    name: str,
    text: str,
) -> None:
    checks = await check(*arguments)
    assert name in CHECKS
    assert list(checks.warnings) == [name]
    assert text in checks.warnings[name]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert text in caplog.text


async def test_a_missing_command_is_an_obstacle(
    check: Check, caplog: pytest.LogCaptureFixture
) -> None:
    checks = await check("--rename-command", "XAUTOCLAIM", "")
    assert "has no XAUTOCLAIM; expected Redis 6.2 or newer" in checks.obstacle
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


@pytest.mark.parametrize("command", ["INFO", "CONFIG", "COMMAND"])
async def test_what_cannot_be_seen_is_not_warned_of(check: Check, command: str) -> None:
    checks = await check("--rename-command", command, "")
    assert checks.warnings == {}
    assert checks.obstacle == ""


async def test_without_a_server_nothing_is_warned_of(no_redis: RedisCommands) -> None:
    checks = ServerChecks(lambda: [no_redis], BURST_BYTES)
    await checks.run()
    assert checks.warnings == {}
    assert checks.obstacle == ""

"""Checks of the Redis server: settings that lose events, and commands that are missing.

They run after each subscription, as a failover may lead to another server. Commands that an ACL
refuses are skipped: what cannot be seen is not warned of.
"""

import logging
from collections.abc import Awaitable, Mapping
from typing import Any, Final

from redis.exceptions import ResponseError

from sse_node.errors import RedisError
from sse_node.redis.commands import RedisCommands

MIN_VERSION: Final = (6, 2)
CHECKS: Final = ("version", "eviction", "persistence", "output-buffer")
# XAUTOCLAIM hands the snapshot jobs of a dead node to another one; Redis has it from 6.2 on.
_NEEDED_COMMAND: Final = ("XAUTOCLAIM", "key", "group", "consumer", "0", "0")

logger = logging.getLogger(__name__)


class ServerChecks:
    """What is wrong with the server a node is connected to; lives as long as the node.

    Args:
        commands: to the server.
        largest_burst_bytes: what one script publishes at most; the output buffer of a subscriber
            must hold it.

    Attributes:
        warnings: by check, one sentence each.
        obstacle: why the node cannot be ready on this server; empty if it can.
    """

    def __init__(self, commands: RedisCommands, largest_burst_bytes: int) -> None:
        self._commands = commands
        self._largest_burst_bytes = largest_burst_bytes
        self.warnings: dict[str, str] = {}
        self.obstacle = ""

    async def run(self) -> None:
        """Look at the server; log each new warning once."""
        server = await self._information("server")
        memory = await self._information("memory")
        persistence = await self._information("persistence")
        limit = await self._setting("client-output-buffer-limit")
        save = await self._setting("save")
        found = {
            "version": _version_warning(server),
            "eviction": _eviction_warning(memory),
            "persistence": _persistence_warning(persistence, save),
            "output-buffer": self._output_buffer_warning(limit),
        }
        warnings = {check: text for check, text in found.items() if text}
        for check, text in warnings.items():
            if self.warnings.get(check) != text:
                logger.warning("Redis: %s", text)
        self.warnings = warnings
        obstacle = await self._obstacle(server)
        if obstacle and obstacle != self.obstacle:
            logger.error("Redis: %s", obstacle)
        self.obstacle = obstacle

    async def _information(self, section: str) -> Mapping[str, Any]:
        found = await self._ask(self._commands.client.info(section))
        return found if isinstance(found, dict) else {}

    async def _setting(self, name: str) -> str | None:
        found = await self._ask(self._commands.client.config_get(name))
        return str(found[name]) if isinstance(found, dict) and name in found else None

    async def _obstacle(self, server: Mapping[str, Any]) -> str:
        execute: Any = self._commands.client.execute_command
        answer = await self._ask(execute("COMMAND GETKEYS", *_NEEDED_COMMAND))
        if not isinstance(answer, ResponseError) or "Invalid command" not in str(answer):
            return ""
        version = server.get("redis_version", "of unknown version")
        return (
            f"the server {version} has no {_NEEDED_COMMAND[0]}; expected Redis 6.2 or newer, with "
            "all of its commands"
        )

    async def _ask(self, command: Awaitable[Any]) -> Any:  # noqa: ANN401  (any RESP2 value)
        """Return the answer to a command, which may be an error; None when Redis is away."""

        async def answer_of() -> Any:  # noqa: ANN401
            try:
                return await command
            except ResponseError as exc:  # here, so that it does not count as a failure
                return exc

        try:
            return await self._commands.call(answer_of())
        except RedisError:
            return None

    def _output_buffer_warning(self, limits: str | None) -> str:
        if limits is None:
            return ""
        words = limits.split()
        classes = {words[i]: words[i + 1] for i in range(0, len(words) - 3, 4)}
        hard_limit = int(classes.get("pubsub", "0"))
        if not hard_limit or hard_limit >= self._largest_burst_bytes:
            return ""
        return (
            f"client-output-buffer-limit pubsub is {hard_limit} bytes; one POST /events publishes "
            f"up to {self._largest_burst_bytes}, and a node over the limit is disconnected"
        )


def _version_warning(server: Mapping[str, Any]) -> str:
    version = str(server.get("redis_version", ""))
    numbers = version.split(".")[:2]
    if len(numbers) != 2 or not all(number.isdigit() for number in numbers):
        return ""
    if tuple(map(int, numbers)) >= MIN_VERSION:
        return ""
    return f"the server is version {version}; expected 6.2 or newer"


def _eviction_warning(memory: Mapping[str, Any]) -> str:
    policy = memory.get("maxmemory_policy", "noeviction")
    if policy == "noeviction":
        return ""
    return (
        f"maxmemory-policy is {policy}; expected noeviction, or Redis may delete the event log and "
        "accounts"
    )


def _persistence_warning(persistence: Mapping[str, Any], save: str | None) -> str:
    if not persistence or save is None or save or persistence.get("aof_enabled"):
        return ""
    return 'nothing is saved on disk (appendonly no, save ""): a restart loses all events'

"""Checks of the Redis servers: settings that lose events, and commands that are missing.

They run after each subscription, as a failover may lead to another server; the one of replication
whenever figures are read. Commands that an ACL refuses are skipped: what cannot be seen is not
warned of.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from redis.exceptions import ResponseError

from sse_node.redis.commands import RedisCommands
from sse_node.redis.server_figures import replication_lags
from sse_node.redis.server_information import ServerInformation

MIN_VERSION: Final = (6, 2)
CHECKS: Final = ("version", "eviction", "persistence", "output-buffer", "replication")
# A replica confirms once a second, and whole seconds are counted: 2 is seen on a busy machine.
_LATE_S: Final = 2
# XAUTOCLAIM hands the snapshot jobs of a dead node to another one; Redis has it from 6.2 on.
_NEEDED_COMMAND: Final = ("XAUTOCLAIM", "key", "group", "consumer", "0", "0")

logger = logging.getLogger(__name__)


Servers = Callable[[], Sequence[RedisCommands]]
"""Returns commands to each server in use: one, and in a cluster all masters."""


class ServerChecks:
    """What is wrong with the servers a node uses; lives as long as the node.

    Args:
        servers: which they are.
        largest_burst_bytes: what one script publishes at most; the output buffer of a subscriber
            must hold it.

    Attributes:
        warnings: by check, one sentence for each server.
        obstacle: why the node cannot be ready on these servers; empty if it can.
    """

    def __init__(self, servers: Servers, largest_burst_bytes: int) -> None:
        self._servers = servers
        self._largest_burst_bytes = largest_burst_bytes
        self.warnings: dict[str, str] = {}
        self.obstacle = ""

    async def run(self) -> None:
        """Look at the servers; log each new warning once."""
        found: dict[str, dict[str, str]] = {}
        for commands in self._servers():
            for check, text in (await self._look_at(commands)).items():
                found.setdefault(check, {})[commands.server] = text
        obstacle = _together(found.pop("obstacle", {}))
        for check, texts in found.items():
            self._note(check, _together(texts))
        if obstacle and obstacle != self.obstacle:
            logger.error("Redis: %s", obstacle)
        self.obstacle = obstacle

    async def _look_at(self, commands: RedisCommands) -> dict[str, str]:
        """Return what one server fails, by check; empty for what it does not."""
        information = ServerInformation(commands)
        server = await information.section("server") or {}
        memory = await information.section("memory") or {}
        persistence = await information.section("persistence") or {}
        limit = await information.setting("client-output-buffer-limit")
        save = await information.setting("save")
        return {
            "version": _version_warning(server),
            "eviction": _eviction_warning(memory),
            "persistence": _persistence_warning(persistence, save),
            "output-buffer": self._output_buffer_warning(limit),
            "obstacle": await _obstacle(commands, information, server),
        }

    def check_replication(self, replication: Mapping[str, Mapping[str, Any]]) -> None:
        """Look at INFO's section about replication, which changes while a node is connected.

        Args:
            replication: of each server, by its name.
        """
        warnings = {server: _replication_warning(each) for server, each in replication.items()}
        self._note("replication", _together(warnings))

    def _note(self, check: str, text: str) -> None:
        if text and self.warnings.get(check) != text:
            logger.warning("Redis: %s", text)
        self.warnings.pop(check, None)
        if text:
            self.warnings[check] = text

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


def _together(texts: Mapping[str, str]) -> str:
    """Return the texts of servers as one; a server is named if there are several."""
    found = {server: text for server, text in texts.items() if text}
    if len(texts) > 1:
        return "; ".join(f"{server}: {text}" for server, text in sorted(found.items()))
    return "".join(found.values())


async def _obstacle(
    commands: RedisCommands, information: ServerInformation, server: Mapping[str, Any]
) -> str:
    execute: Any = commands.client.execute_command
    answer = await information.answer_to(lambda: execute("COMMAND GETKEYS", *_NEEDED_COMMAND))
    if not isinstance(answer, ResponseError) or "Invalid command" not in str(answer):
        return ""
    version = server.get("redis_version", "of unknown version")
    return (
        f"the server {version} has no {_NEEDED_COMMAND[0]}; expected Redis 6.2 or newer, with "
        "all of its commands"
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


def _replication_warning(replication: Mapping[str, Any]) -> str:
    """Return what a failover would lose, as far as the master's settings allow it.

    INFO has `min_slaves_good_slaves` only if `min-replicas-to-write` is set.
    """
    replicas = replication.get("connected_slaves", 0)
    if replicas and "min_slaves_good_slaves" not in replication:
        return (
            "a replica may be promoted without the last second of writes, or more: "
            "min-replicas-to-write is 0; expected 1 or more, with a min-replicas-max-lag of a few "
            "seconds"
        )
    late = [address for address, lag_s, _ in replication_lags(replication) if lag_s > _LATE_S]
    if late:
        return (
            f"a replica may be promoted without the last seconds of writes: {', '.join(late)} has "
            f"confirmed nothing for more than {_LATE_S} s"
        )
    return ""

"""Figures of the Redis servers and of the log, for metrics: read at the pace of the link check.

They are missing while Redis is away, and where an ACL or the server's version does not give them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sse_node.errors import RedisError
from sse_node.redis.commands import RedisCommands, Script
from sse_node.redis.event_log import EventLog
from sse_node.redis.server_information import ServerInformation

_MEASURE_LOG: Final = Script("measure_log")
_LOG: Final = "log"


@dataclass(frozen=True, slots=True)
class Figures:
    """One reading, of all servers together; None for what is not known.

    Attributes:
        memory_bytes: that Redis uses.
        memory_limit_bytes: `maxmemory`; 0 if a server has no limit.
        evicted_keys: since the servers have started.
        replicas: that are connected.
        replication_lag_s: whole seconds since the slowest replica has confirmed what it has.
        replication_lag_bytes: what the slowest replica has not confirmed.
        logs: how many entries the log of each shard has and was ever given, by its number.
    """

    memory_bytes: int | None = None
    memory_limit_bytes: int | None = None
    evicted_keys: int | None = None
    replicas: int | None = None
    replication_lag_s: int | None = None
    replication_lag_bytes: int | None = None
    logs: Mapping[int, tuple[int, int | None]] = field(default_factory=dict)

    @property
    def log_events(self) -> int | None:
        """Entries of all logs."""
        return sum(length for length, _ in self.logs.values()) if self.logs else None

    @property
    def log_events_added(self) -> int | None:
        """Entries that the logs were ever given."""
        added = [each for _, each in self.logs.values() if each is not None]
        return sum(added) if added else None


_UNKNOWN: Final = Figures()


class ServerFigures:
    """The newest figures; lives as long as the node.

    Args:
        servers: which they are.
        logs: of all shards, in order.
        on_replication: called with INFO's section of that name of each server after each reading,
            empty when it is not known.

    Attributes:
        newest: the figures.
    """

    def __init__(
        self,
        servers: Callable[[], Sequence[RedisCommands]],
        logs: Iterable[EventLog],
        on_replication: Callable[[Mapping[str, Mapping[str, Any]]], None],
    ) -> None:
        self._servers = servers
        self._logs = logs
        self._on_replication = on_replication
        # Not asked again before Redis has been away, as servers log what they refuse.
        self._refused: set[str] = set()
        self.newest = _UNKNOWN

    async def read(self) -> None:
        """Read all figures."""
        servers = self._servers()
        memory = [await self._section(each, "memory") for each in servers]
        stats = [await self._section(each, "stats") for each in servers]
        replication = [await self._section(each, "replication") for each in servers]
        measured = {number: await self._measure(log) for number, log in enumerate(self._logs)}
        lags = [lag for section in replication for lag in replication_lags(section)]
        limits = [section.get("maxmemory") for section in memory]
        self.newest = Figures(
            memory_bytes=_sum(section.get("used_memory") for section in memory),
            memory_limit_bytes=0 if 0 in limits else _sum(limits),
            evicted_keys=_sum(section.get("evicted_keys") for section in stats),
            replicas=_sum(section.get("connected_slaves") for section in replication),
            replication_lag_s=max((lag_s for _, lag_s, _ in lags), default=None),
            replication_lag_bytes=max((lag_bytes for _, _, lag_bytes in lags), default=None),
            logs={number: found for number, found in measured.items() if found is not None},
        )
        self._on_replication(
            {each.server: section for each, section in zip(servers, replication, strict=True)}
        )

    def forget(self) -> None:
        """Redis is away: nothing is known, and what comes back may refuse other commands."""
        self.newest = _UNKNOWN
        self._refused.clear()

    async def _section(self, commands: RedisCommands, name: str) -> Mapping[str, Any]:
        if name in self._refused:
            return {}
        found = await ServerInformation(commands).section(name)
        if found is None:
            self._refused.add(name)
        return found or {}

    async def _measure(self, log: EventLog) -> tuple[int, int | None] | None:
        """Return a log's length, and how many entries it was ever given."""
        if _LOG in self._refused:
            return None
        try:
            found = await log.commands.run(_MEASURE_LOG, [log.keys.log], [])
        except RedisError:
            return None
        if isinstance(found, bytes):
            self._refused.add(_LOG)
        if not isinstance(found, list):
            return None
        length, added = (*found, None)[:2]
        return length, added


def _sum(values: Iterable[int | None]) -> int | None:
    """Return the sum of what is known; None if nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def replication_lags(replication: Mapping[str, Any]) -> Iterator[tuple[str, int, int]]:
    """Yield the address of each replica that is in sync, its lag in seconds and in bytes.

    Args:
        replication: INFO's section.
    """
    written = replication.get("master_repl_offset", 0)
    for number in range(replication.get("connected_slaves", 0)):
        replica = replication.get(f"slave{number}", {})
        if replica.get("state") == "online":
            address = f"{replica['ip']}:{replica['port']}"
            yield address, replica["lag"], max(0, written - replica["offset"])

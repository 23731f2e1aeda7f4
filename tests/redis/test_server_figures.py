"""Figures of real servers, Redis and Valkey, alone and with a replica."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis

from bench.harness import RedisProcess, valkey_binary
from sse_node.redis.address import redis_address
from sse_node.redis.commands import RedisCommands
from sse_node.redis.event_log import EventLog
from sse_node.redis.keys import LOG_KEY
from sse_node.redis.server_checks import ServerChecks
from sse_node.redis.server_figures import Figures, ServerFigures, replication_lags

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    Start = Callable[..., RedisProcess]

BINARIES: dict[str, Any] = {"redis": "redis-server", "valkey": valkey_binary()}
MIB = 1024 * 1024


@pytest.fixture(params=BINARIES)
def start(request: pytest.FixtureRequest) -> Iterator[Start]:
    """Start servers of one kind."""
    with ExitStack() as servers:
        yield lambda *arguments, tcp=False: servers.enter_context(
            RedisProcess(BINARIES[request.param], arguments, tcp=tcp)
        )


class Reader:
    """Figures and the warnings that they lead to."""

    def __init__(self, commands: RedisCommands) -> None:
        self.commands = commands
        self.checks = ServerChecks(lambda: [commands], 1)
        self._figures = ServerFigures(
            lambda: [commands], [EventLog(commands, 1000)], self.checks.check_replication
        )

    async def read(self) -> Figures:
        await self._figures.read()
        return self._figures.newest

    async def until(self, is_true: Callable[[Figures, str], bool]) -> Figures:
        """Read until figures and warning are as expected."""
        async with asyncio.timeout(20):
            while not is_true(figures := await self.read(), self.warning):  # noqa: ASYNC110  (INFO can only be asked)
                await asyncio.sleep(0.05)
        return figures

    @property
    def warning(self) -> str:
        return self.checks.warnings.get("replication", "")


@pytest.fixture
async def reader_of() -> AsyncIterator[Callable[[RedisProcess], Reader]]:
    """Make a reader of a server's figures."""
    made: list[RedisCommands] = []

    def make(redis: RedisProcess) -> Reader:
        address = redis_address(redis.url)
        made.append(RedisCommands(address, name="test", timeout_s=5, max_connections=1))
        return Reader(made[-1])

    yield make
    for commands in made:
        await commands.shutdown()


async def test_figures_of_a_server_alone(
    start: Start, reader_of: Callable[[RedisProcess], Reader]
) -> None:
    reader = reader_of(start("--maxmemory", "64mb"))
    before = await reader.read()
    assert (before.log_events, before.log_events_added) == (None, None)
    log = EventLog(reader.commands, 1000)
    await log.publish([("user-events", b'{"userId":"1","eventType":"t","data":1}')] * 3)
    await reader.commands.execute("XTRIM", LOG_KEY, "MAXLEN", 2)
    figures = await reader.read()
    assert (figures.log_events, figures.log_events_added) == (2, 3)
    assert (figures.memory_limit_bytes, figures.evicted_keys) == (64 * MIB, 0)
    assert figures.memory_bytes is not None
    assert 0 < figures.memory_bytes < 64 * MIB
    assert (figures.replicas, figures.replication_lag_s, reader.warning) == (0, None, "")


async def test_evictions_are_counted(
    start: Start, reader_of: Callable[[RedisProcess], Reader]
) -> None:
    reader = reader_of(start("--maxmemory", "8mb", "--maxmemory-policy", "allkeys-lru"))
    for number in range(30):
        await reader.commands.execute("SET", f"key-{number}", bytes(MIB))
    evicted_keys = (await reader.read()).evicted_keys
    assert evicted_keys is not None
    assert evicted_keys > 0


async def test_a_replica_that_may_lack_writes(
    start: Start,
    reader_of: Callable[[RedisProcess], Reader],
    caplog: pytest.LogCaptureFixture,
) -> None:
    master = start("--repl-diskless-sync-delay", "0", tcp=True)
    reader = reader_of(master)
    replica = start("--replicaof", f"127.0.0.1 {master.port}", tcp=True)

    figures = await reader.until(lambda figures, _: figures.replication_lag_s is not None)
    assert figures.replicas == 1
    assert figures.replication_lag_bytes is not None
    assert "promoted without the last second of writes" in reader.warning
    assert "min-replicas-to-write is 0" in reader.warning
    assert [record.message for record in caplog.records] == [f"Redis: {reader.warning}"]
    await reader.commands.execute("CONFIG", "SET", "min-replicas-to-write", 1)
    await reader.read()
    assert reader.warning == ""

    os.kill(replica.pid, signal.SIGSTOP)
    try:
        await reader.commands.execute("SET", "key", bytes(MIB))

        expected = f"127.0.0.1:{replica.port} has confirmed nothing"
        figures = await reader.until(lambda _, warning: expected in warning)
        assert figures.replication_lag_s is not None
        assert figures.replication_lag_bytes is not None
        assert figures.replication_lag_s > 2
        assert figures.replication_lag_bytes > MIB
    finally:
        os.kill(replica.pid, signal.SIGCONT)
    await reader.until(lambda _, warning: warning == "")


async def test_what_cannot_be_seen_is_not_known(
    start: Start, reader_of: Callable[[RedisProcess], Reader]
) -> None:
    redis = start()
    administrator = Redis(unix_socket_path=str(redis.socket_path))
    execute: Any = administrator.execute_command
    execute("ACL", "SETUSER", "default", "-info", "-xinfo")
    reader = reader_of(redis)
    for _ in range(3):
        assert await reader.read() == Figures()
    # Refusals go into a log of limited length, so each is asked for once.
    refused = {entry["object"]: entry["count"] for entry in administrator.acl_log()}
    assert refused == {"info": 3, "xinfo|stream": 1}


async def test_without_a_server_nothing_is_known(no_redis: RedisCommands) -> None:
    reader = Reader(no_redis)
    assert await reader.read() == Figures()


def test_lags_of_replicas() -> None:
    online = {"state": "online", "lag": 1}
    replication = {
        "connected_slaves": 4,
        "master_repl_offset": 100,
        "slave0": {"ip": "10.0.0.6", "port": 6379, "offset": 90, **online},
        "slave1": {"ip": "fd00::6", "port": 6380, "offset": 100, **online},
        "slave2": {"ip": "10.0.0.8", "port": 6379, "state": "wait_bgsave", "offset": 0, "lag": 0},
        # slave3 has left since they were counted
    }
    assert list(replication_lags(replication)) == [
        ("10.0.0.6:6379", 1, 10),
        ("fd00::6:6380", 1, 0),
    ]
    assert list(replication_lags({"role": "slave"})) == []

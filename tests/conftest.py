"""Fixtures for the tests of every folder: event loops, fake transports, real Redis and Valkey."""

from __future__ import annotations

import logging
import signal
from typing import TYPE_CHECKING

import hypothesis
import pytest

from bench.harness import Cluster, RedisProcess, SentinelTrio, valkey_binary
from tests.support.redis_fixtures import (
    commands,
    log,
    make_node,
    no_redis,
    redis_url,
    short_patience,
)
from tests.support.transports import (
    clock,
    connect,
    door,
    make_transport,
    pytest_asyncio_loop_factories,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


# Hypothesis measures how long a value takes. In a fresh clone the first one takes over a second on
# a busy machine, because tables of Unicode are made for it.
hypothesis.settings.register_profile(
    "busy", suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("busy")

__all__ = [
    "clock",
    "commands",
    "connect",
    "door",
    "log",
    "make_node",
    "make_transport",
    "no_redis",
    "pytest_asyncio_loop_factories",
    "redis_url",
    "short_patience",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--redis`: the shared Redis has sentinels, 16 shards, or is a cluster of 16 shards."""
    parser.addoption("--redis", choices=("one", "sentinel", "shards", "cluster"), default="one")


def pytest_configure() -> None:
    """Hear SIGHUP even under `nohup`: nodes leave a signal alone that was ignored at exec."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def redis(request: pytest.FixtureRequest) -> Iterator[RedisProcess]:
    """A Redis for all tests that neither stop it nor empty it."""
    if request.config.getoption("--redis") == "sentinel":
        with SentinelTrio() as trio:
            trio.master.sentinel_url = trio.url
            yield trio.master
    elif request.config.getoption("--redis") == "cluster":
        with Cluster() as cluster:
            server = cluster.servers[0]
            server.shards, server.cluster_url = cluster.shards, cluster.url
            yield server
    else:
        with RedisProcess() as process:
            process.shards = 16 if request.config.getoption("--redis") == "shards" else 1
            yield process


@pytest.fixture(scope="session")
def valkey() -> Iterator[RedisProcess]:
    """A Valkey for all tests that neither stop it nor empty it."""
    with RedisProcess(valkey_binary()) as process:
        yield process


@pytest.fixture(autouse=True)
def log_output_as_before() -> Iterator[None]:
    """Undo what a command that ran in this process did to the log output."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    root.handlers[:] = handlers

"""The process of a bridge: what it is made of, and what ends it."""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

import click
import uvloop

from sse_node.bridges.check import Found, report
from sse_node.bridges.dead_letters import DeadLetters, LetterFile, LoggedLetters
from sse_node.bridges.figures import Figures
from sse_node.bridges.mapping import Mapping, Places
from sse_node.bridges.operations import Operations
from sse_node.bridges.pipeline import Pipeline
from sse_node.bridges.place import parse_place
from sse_node.config.bridges import BridgeSettings
from sse_node.config.sections import Settings
from sse_node.errors import ConfigError, MissingSettingError
from sse_node.node.signals import StopSignals
from sse_node.redis.address import redis_address
from sse_node.redis.connections import Connections
from sse_node.redis.event_logs import open_logs
from sse_node.redis.keys import keys_of
from sse_node.redis.sentinel_watch import SentinelWatch
from sse_node.redis.source_log import SourceLogs

logger = logging.getLogger(__name__)


class Bridge(Protocol):
    """What reads from a broker and publishes."""

    async def run(self) -> None:
        """Publish until `stop`; raises BridgeError."""

    def stop(self) -> None:
        """Let `run` return after the records in hand."""


MakeBridge = Callable[[Pipeline, Figures], Bridge]
Find = Callable[[Pipeline], Awaitable[Found]]


def make_mapping(settings: Settings, bridge: BridgeSettings) -> Mapping:
    """Return what makes events of records.

    Raises:
        ConfigError: the places do not go together, or one of them is none.
    """
    user = parse_place("--user-from", bridge.user_from)
    channel = parse_place("--channel-from", bridge.channel_from)
    event_type = parse_place("--type-from", bridge.type_from)
    if user and channel:
        raise ConfigError("--channel-from", bridge.channel_from, "it without --user-from")
    places = None
    if user or channel:
        if event_type is None:
            raise MissingSettingError("--type-from", "where a record has its event type")
        places = Places(user, channel, event_type)
    elif event_type is not None:
        raise ConfigError("--type-from", bridge.type_from, "--user-from or --channel-from with it")
    channels = settings.events.known_channels
    return Mapping(channels, settings.events.max_event_bytes, places)


def letters_of(bridge: BridgeSettings) -> DeadLetters:
    """Return where dead letters go that do not go to a broker.

    Raises:
        ConfigError: the file cannot be written.
    """
    if not bridge.dead_letter:
        return LoggedLetters()
    path = Path(bridge.dead_letter)
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        expected = "a file that can be written, or made in a folder that exists"
        raise ConfigError("--dead-letter", bridge.dead_letter, expected)
    return LetterFile(bridge.dead_letter)


def run(
    settings: Settings,
    bridge: BridgeSettings,
    name: str,
    make_bridge: MakeBridge,
    letters: DeadLetters,
) -> None:
    """Run a bridge until it is asked to stop.

    Args:
        settings: as of a node; where Redis is.
        bridge: of all bridges.
        name: of the kind of bridge.
        make_bridge: makes it.
        letters: where dead letters go.

    Raises:
        BridgeError: it cannot go on.
        ConfigError: it cannot start as it is set up.
    """
    mapping = make_mapping(settings, bridge)
    uvloop.run(_run(settings, bridge, name, make_bridge, letters, mapping))


def check(settings: Settings, bridge: BridgeSettings, find: Find) -> None:
    """Print what would be published of the record that comes next, and change nothing.

    Args:
        settings: as of a node; where Redis is.
        bridge: of all bridges.
        find: returns the record.

    Raises:
        BridgeError: the broker refuses, or the record is bad.
        BrokerError: the broker is away.
        RedisError: Redis is away.
    """
    mapping = make_mapping(settings, bridge)
    click.echo(asyncio.run(_check(settings, find, mapping)))


async def _check(settings: Settings, find: Find, mapping: Mapping) -> str:
    async with _connected(settings, "check") as log:
        pipeline = Pipeline(mapping, log, LoggedLetters(), Figures())
        await pipeline.position("check", "")
        return report(await find(pipeline), mapping)


@contextlib.asynccontextmanager
async def _connected(settings: Settings, name: str) -> AsyncIterator[SourceLogs]:
    """Connect to Redis inside the block."""
    address = redis_address(settings.redis.url)
    connections = Connections(
        address,
        name=f"sse-node:bridge-{name}",
        timeout_s=settings.redis.timeout,
        max_connections=2,
    )
    keys = keys_of(settings.redis.namespace, address.database)
    watch = SentinelWatch(address, f"sse-node:bridge-{name}")
    watch.start()
    try:
        yield SourceLogs(lambda: open_logs(connections, keys, settings.history))
    finally:
        await watch.shutdown()
        await connections.shutdown()


async def _run(
    settings: Settings,
    bridge: BridgeSettings,
    name: str,
    make_bridge: MakeBridge,
    letters: DeadLetters,
    mapping: Mapping,
) -> None:
    figures = Figures()
    signals = StopSignals(lambda: logger.info("SIGHUP: nothing to reload"))
    async with (
        _connected(settings, name) as log,
        Operations(figures).listening(bridge, settings.http),
    ):
        stops = bridge.on_bad == "stop"
        pipeline = Pipeline(mapping, log, letters, figures, stops_on_bad=stops)
        with signals.caught():
            await _run_until(signals, make_bridge(pipeline, figures))
    logger.info("stopped; published %d, repeated %d", figures.published, figures.repeated)


async def _run_until(signals: StopSignals, bridge: Bridge) -> None:
    running = asyncio.ensure_future(bridge.run())
    waited: set[asyncio.Future[Any]] = {running, signals.received}
    await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
    if signals.received.done():
        logger.info("%s: stopping after the records in hand", signals.received.result().name)
        bridge.stop()
    await running

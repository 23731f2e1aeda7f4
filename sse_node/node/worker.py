"""One process of a node: what it waits for, and what ends it."""

import asyncio
import gc
import logging
import signal

import uvloop

from sse_node import __version__
from sse_node.config.reload import SettingsSource, reload_in_place
from sse_node.config.sections import Settings
from sse_node.lifetimes.periodic import Periodic
from sse_node.node.control import ALIVE, CRASH, LIFE_SIGN_S, ControlChannel, WorkerConfig
from sse_node.node.hangup import SettingsReader
from sse_node.node.server import Server
from sse_node.node.signals import StopSignals
from sse_node.redis.private import PrivateRedis

logger = logging.getLogger(__name__)


def run(settings: Settings, config: WorkerConfig | None, source: SettingsSource) -> None:
    """Run a node of one process, or one worker of a node, until it is asked to stop.

    Args:
        settings: of the node.
        config: of a worker; None for a node of one process.
        source: reads the settings again for SIGHUP.

    Raises:
        ConfigError: it cannot start as it is set up.
        RedisError: its private Redis does not start.
    """
    uvloop.run(_serve_alone(settings, source) if config is None else _serve_in(settings, config))


async def _serve_alone(settings: Settings, source: SettingsSource) -> None:
    reader = SettingsReader(settings, source, reload_in_place)
    servers: list[Server] = []

    def reload() -> None:
        if servers and reader.read("settings"):
            servers[0].reload(reader.settings)

    signals = StopSignals(reload)
    with signals.caught():
        if settings.redis.url:
            servers.append(Server(settings, settings.redis.url))
            await _serve(servers[0], signals, settings)
            return
        private = PrivateRedis()
        try:
            private.start()
            _pass_on_log(private)
            try:
                servers.append(Server(settings, private.url))
                await _serve(servers[0], signals, settings)
            finally:
                asyncio.get_running_loop().remove_reader(private)
        finally:
            private.shutdown()


def _pass_on_log(private: PrivateRedis) -> None:
    loop = asyncio.get_running_loop()

    def read_log() -> None:
        if not private.read_log():
            loop.remove_reader(private)

    loop.add_reader(private, read_log)


async def _serve_in(settings: Settings, config: WorkerConfig) -> None:
    """Run one worker; it drains when its supervisor is gone.

    It drains like a worker that is replaced, with its listener closed first, so that a new node can
    bind the address.
    """
    signals = StopSignals()
    loop = asyncio.get_running_loop()
    control = ControlChannel.from_descriptor(config.descriptors.control)
    redis_url = config.redis_url or settings.redis.url
    server = Server(settings, redis_url, config, control)

    def on_message() -> None:
        try:
            server.add_crashes(control.receive().count(CRASH))
        except EOFError:
            logger.warning("the supervisor is gone")
            loop.remove_reader(control)
            signals.trigger(signal.SIGHUP)

    life_signs = Periodic(LIFE_SIGN_S, lambda: control.send(ALIVE))
    loop.add_reader(control, on_message)
    control.send(ALIVE)
    life_signs.start()
    with signals.caught():
        await _serve(server, signals, settings, is_worker=True)
    life_signs.shutdown()
    if not loop.remove_reader(control):  # it has been removed: there is no supervisor
        config.remove_directory()


async def _serve(
    server: Server, signals: StopSignals, settings: Settings, *, is_worker: bool = False
) -> None:
    try:
        address = await server.start(signals.received)
        gc.collect()
        gc.freeze()  # what is there now stays: full collections need not look at it
        if is_worker:  # the supervisor logs it once for all workers
            logger.debug("listening on %s", address)
        else:
            logger.info(
                "sse-node %s, at most %d streams", __version__, settings.streams.max_streams
            )
            logger.info("listening on %s", address)
        number = await signals.received
        logger.info("%s: stopping", number.name)
        await server.drain(
            delay_s=settings.node.drain_delay,
            at_once=signals.at_once,
            node_leaves=not (is_worker and number is signal.SIGHUP),
        )
    finally:
        await server.shutdown()
        logger.info("stopped")

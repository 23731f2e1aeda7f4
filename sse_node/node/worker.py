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
from sse_node.node.service_manager import ServiceManager
from sse_node.node.signals import StopSignals
from sse_node.redis.private import PrivateRedis

logger = logging.getLogger(__name__)


def run(
    settings: Settings,
    config: WorkerConfig | None,
    source: SettingsSource,
    manager: ServiceManager,
) -> None:
    """Run a node of one process, or one worker of a node, until it is asked to stop.

    Args:
        settings: of the node.
        config: of a worker; None for a node of one process.
        source: reads the settings again for SIGHUP.
        manager: of a node of one process; that of a worker is its supervisor.

    Raises:
        ConfigError: it cannot start as it is set up.
        RedisError: its private Redis does not start.
    """
    if config is None:
        uvloop.run(_serve_alone(settings, source, manager))
    else:
        uvloop.run(_serve_in(settings, config))


async def _serve_alone(settings: Settings, source: SettingsSource, manager: ServiceManager) -> None:
    reader = SettingsReader(settings, source, reload_in_place)
    servers: list[Server] = []

    def reload() -> None:
        manager.on_reload()
        if servers and reader.read("settings"):
            servers[0].reload(reader.settings)
        manager.on_ready("serving")

    async def serve(redis_url: str) -> None:
        servers.append(Server(settings, redis_url, given=manager.listener))
        await _serve(servers[0], signals, settings, manager)

    signals = StopSignals(reload)
    with signals.caught():
        if settings.redis.url:
            await serve(settings.redis.url)
            return
        private = PrivateRedis()
        try:
            private.start()
            _pass_on_log(private)
            try:
                await serve(private.url)
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
        await _serve(server, signals, settings)
    life_signs.shutdown()
    if not loop.remove_reader(control):  # it has been removed: there is no supervisor
        config.remove_directory()


async def _serve(
    server: Server,
    signals: StopSignals,
    settings: Settings,
    manager: ServiceManager | None = None,
) -> None:
    """Serve until a signal.

    Args:
        server: to start and to stop.
        signals: that ask for the stop.
        settings: of the node.
        manager: None for a worker.
    """
    life_signs = None
    try:
        address = await server.start(signals.received)
        gc.collect()
        gc.freeze()  # what is there now stays: full collections need not look at it
        if manager is None:  # the supervisor logs it once for all workers
            logger.debug("listening on %s", address)
        else:
            logger.info(
                "sse-node %s, at most %d streams", __version__, settings.streams.max_streams
            )
            logger.info("listening on %s", address)
            manager.on_ready(f"listening on {address}")
            if manager.watchdog_s:
                life_signs = Periodic(manager.watchdog_s / 2, manager.on_alive)
                life_signs.start()
        number = await signals.received
        logger.info("%s: stopping", number.name)
        if manager is not None:
            manager.on_stop()
        await server.drain(
            delay_s=settings.node.drain_delay,
            at_once=signals.at_once,
            node_leaves=manager is not None or number is not signal.SIGHUP,
        )
    finally:
        await server.shutdown()
        if life_signs is not None:
            life_signs.shutdown()
        logger.info("stopped")

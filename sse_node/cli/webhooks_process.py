"""`sse-node webhooks`: the process that delivers webhooks, put together and run."""

import asyncio
import contextlib
import logging
import os
from typing import Final

import uvloop

from sse_node import __version__
from sse_node.config.hosts import ANY
from sse_node.config.sections import Settings
from sse_node.errors import RedisError
from sse_node.http.connection import HttpConnection
from sse_node.http.cors import Cors
from sse_node.http.hosts import AllowedHosts
from sse_node.http.listener import address_of, listen, tcp_listener
from sse_node.http.router import Resource, Router
from sse_node.http.site import HttpSite
from sse_node.lifetimes.background_task import BackgroundTask
from sse_node.lifetimes.periodic import Periodic
from sse_node.node.signals import StopSignals
from sse_node.redis.address import redis_address
from sse_node.redis.backoff import Backoff
from sse_node.redis.connections import Connections
from sse_node.redis.consumers import Consumers
from sse_node.redis.event_log import EventLog
from sse_node.redis.event_logs import EventLogs, open_logs
from sse_node.redis.keys import keys_of
from sse_node.redis.sentinel_watch import SentinelWatch
from sse_node.webhooks.deliverer import Deliverer
from sse_node.webhooks.dispatcher import GROUP, Dispatcher
from sse_node.webhooks.figures import Figures
from sse_node.webhooks.hosts import Hosts
from sse_node.webhooks.in_flight import InFlight
from sse_node.webhooks.queue import Queues
from sse_node.webhooks.schedule import Schedule
from sse_node.webhooks.sender import Sender
from sse_node.webhooks.targets import Targets
from sse_node.wire.sharding import SHARD_COUNTS

_READER_TIMEOUT_S: Final = 5.0
_MAX_CONNECTIONS: Final = 100
_BACKLOG: Final = 64
_CONSUMER_IDLE_S: Final = 60.0
# More than a request takes, which has begun already.
_DRAIN_S: Final = 12.0

logger = logging.getLogger(__name__)


class WebhooksProcess:
    """All parts of the process, built once in its event loop.

    Args:
        settings: frozen; `redis.url` says where Redis is.

    Raises:
        ConfigError: the address of health and metrics cannot be listened on.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # First, as nothing has to be closed yet when it cannot be listened on.
        self._socket = tcp_listener(
            settings.listen.host,
            settings.webhooks.port,
            user_timeout_ms=0,
            setting="--host, --webhook-port",
        )
        listen(self._socket, _BACKLOG, setting="--host, --webhook-port")
        address = redis_address(settings.redis.url)
        name = f"sse-node:{settings.node.server_id}:webhooks"
        self._keys = keys_of(settings.redis.namespace, address.database)
        self._connections = Connections(
            address,
            name=name,
            timeout_s=settings.redis.timeout,
            max_connections=settings.redis.connections,
        )
        # Each shard waits for entries, which blocks for a second.
        self._readers = Connections(
            address,
            name=f"{name}-reader",
            timeout_s=_READER_TIMEOUT_S,
            max_connections=max(SHARD_COUNTS),
        )
        self._watch = SentinelWatch(address, name)
        self._schedule = Schedule(settings.webhooks.retry_time)
        self._targets = Targets(settings.webhooks)
        self._sender = Sender(self._targets)
        self._in_flight = InFlight(Hosts(self._schedule.scale))
        self._dispatchers: list[Dispatcher] = []
        self._deliverers: list[Deliverer] = []
        self._consumers: list[Consumers] = []
        self._consumer = f"{settings.node.server_id}-{os.getpid()}"
        self._figures = Figures(self._in_flight, self._dispatchers)
        self._beginning = BackgroundTask(self._begin)
        self._router = Router(
            [
                Resource("/health", {"GET": self._figures.ready}),
                Resource("/health/live", {"GET": self._figures.live}),
                Resource("/health/ready", {"GET": self._figures.ready}),
                Resource("/metrics", {"GET": self._figures.metrics}),
            ],
            Cors(()),
            AllowedHosts((ANY,)),
            ((b"Server", b"sse-node"),),
        )
        self._site = HttpSite(
            find_route=self._router.find,
            response_headers=self._router.response_headers,
            settings=settings.http,
            room=lambda: _MAX_CONNECTIONS - len(self._site.connections),
        )
        self._second = Periodic(1.0, self._close_overdue)
        self._listener: asyncio.Server | None = None

    def _close_overdue(self) -> None:
        self._site.close_overdue(asyncio.get_running_loop().time())

    async def start(self) -> None:
        """Begin to read, to deliver and to answer."""
        loop = asyncio.get_running_loop()
        address = address_of(self._socket)
        self._listener = await loop.create_server(
            lambda: HttpConnection(self._site), sock=self._socket
        )
        self._second.start()
        self._watch.start()
        self._beginning.start()
        logger.info("sse-node %s, delivering webhooks", __version__)
        logger.info("listening on %s for health and metrics", address)

    async def _begin(self) -> None:
        """Start every shard once the number of shards is known."""
        logs = await self._open_logs()
        limits = self._settings.webhooks.queue_limits(len(logs))
        for log in logs:
            self._deliver(log, limits)
        self._figures.start(logs)

    async def _open_logs(self) -> EventLogs:
        """Return the logs as soon as Redis answers and a node has been there.

        Before that there is no log, and the number of shards is not known: with a log under the
        server's own names it would be one for ever.
        """
        backoff = Backoff()
        is_logged = False
        while True:
            try:
                logs = await open_logs(self._connections, self._keys, self._settings.history)
                log = logs[0]
                if await log.commands.execute("EXISTS", log.keys.log):
                    return logs
                if not is_logged:
                    logger.info("there is no event log yet; waiting for a node")
                is_logged = True
            except RedisError:
                pass  # the commands have logged it
            except Exception:
                logger.exception("the number of shards cannot be read")
            await asyncio.sleep(backoff.next_s())

    def _deliver(self, log: EventLog, limits: str) -> None:
        """Read the log of one shard, and deliver."""
        consumers = Consumers(log.commands, log.keys.log, GROUP, _CONSUMER_IDLE_S)
        deliverer = Deliverer(
            Queues(log.commands, log.keys, limits),
            self._targets,
            self._sender,
            self._schedule,
            self._in_flight,
        )
        dispatcher = Dispatcher(
            log.commands,
            self._readers.commands_for(log.keys.log),
            log.keys,
            limits=limits,
            consumer=self._consumer,
            wake=deliverer.wake,
            tidy=consumers.remove_idle,
        )
        self._consumers.append(consumers)
        self._deliverers.append(deliverer)
        self._dispatchers.append(dispatcher)
        dispatcher.start()
        deliverer.start()

    async def drain(self) -> None:
        """Begin nothing more, and finish what is in flight."""
        self._figures.draining = True
        logger.info("finishing %d deliveries", len(self._in_flight))
        await self._stop()
        await self._in_flight.wait(_DRAIN_S)
        for consumers in self._consumers:
            await consumers.remove(self._consumer)

    async def _stop(self) -> None:
        await self._beginning.shutdown()
        for dispatcher in self._dispatchers:
            await dispatcher.shutdown()
        for deliverer in self._deliverers:
            await deliverer.shutdown()

    async def shutdown(self) -> None:
        """Stop everything that is still running."""
        self._second.shutdown()
        if self._listener is not None:
            self._listener.close()
        for connection in list(self._site.connections):
            connection.abort()
        await self._stop()
        await self._in_flight.shutdown()
        await self._figures.shutdown()
        await self._sender.shutdown()
        await self._watch.shutdown()
        await self._readers.shutdown()
        await self._connections.shutdown()


def run_webhooks(settings: Settings) -> None:
    """Deliver webhooks until a stop signal; what is in flight then is finished.

    Raises:
        ConfigError: it cannot start as it is set up.
    """
    uvloop.run(_run(settings))


async def _run(settings: Settings) -> None:
    signals = StopSignals(lambda: logger.info("SIGHUP: nothing to reload"))
    process = WebhooksProcess(settings)
    with signals.caught():
        try:
            await process.start()
            number = await signals.received
            logger.info("%s: stopping", number.name)
            draining = asyncio.ensure_future(process.drain())
            at_once = asyncio.ensure_future(signals.at_once.wait())
            await asyncio.wait({draining, at_once}, return_when=asyncio.FIRST_COMPLETED)
            for task in (draining, at_once):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        finally:
            await process.shutdown()
            logger.info("stopped")

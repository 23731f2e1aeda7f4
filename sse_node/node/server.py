"""The composition root: builds every part of a node once; start order, drain, stop order."""

import asyncio
import contextlib
import logging
import signal
import socket
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sse_node.api.accounts import Accounts
from sse_node.api.event_stream import EventStreamResource
from sse_node.api.events import Events
from sse_node.api.health import Health
from sse_node.api.snapshot_jobs import SnapshotWorker
from sse_node.api.snapshots import Snapshots
from sse_node.config.reading import raise_file_limit
from sse_node.config.sections import Settings
from sse_node.delivery.fanout import Fanout
from sse_node.delivery.histogram import Histogram
from sse_node.delivery.history import History
from sse_node.delivery.hub import Hub
from sse_node.delivery.ingest import Ingest
from sse_node.errors import PublisherError
from sse_node.http.connection import HttpConnection
from sse_node.http.listener import address_of, remove_socket
from sse_node.http.router import Resource, Router
from sse_node.http.site import HttpSite
from sse_node.lifetimes.background_task import BackgroundTask
from sse_node.lifetimes.periodic import Periodic
from sse_node.logs.rate_limit import OncePerSecond
from sse_node.node.control import ControlChannel, WorkerConfig, WorkerState, process_name
from sse_node.node.listening import make_listener
from sse_node.node.metrics import Metrics
from sse_node.node.status import NodeStatus
from sse_node.redis.address import redis_address
from sse_node.redis.catch_up import CatchUp
from sse_node.redis.commands import RedisCommands
from sse_node.redis.event_log import EventLog, probe_channel
from sse_node.redis.link_check import Audit
from sse_node.redis.replay import LogReplay
from sse_node.redis.subscription import RedisLink
from sse_node.streams.drain import drain
from sse_node.streams.frames import encode_ping
from sse_node.streams.heartbeat import Heartbeat
from sse_node.streams.opening import Opening
from sse_node.streams.registry import Streams
from sse_node.streams.retry import RetryTime
from sse_node.streams.slow_clients import SlowClients
from sse_node.wire.envelope import USER_EVENTS
from sse_node.wire.prometheus import expose

# File descriptors that are no client's: Redis, the event loop, the log.
_OWN_FILES = 100
_MAX_EVENTS_CONTENT_BYTES = 1024 * 1024
_DEADLINE_LOOK_S = 1.0
# What a drain leaves of its time for the last bytes and for closing Redis.
_STOP_RESERVE_S = 2.0
_JOB_READER_TIMEOUT_S = 5.0
_CLEANS_UP = sys.version_info >= (3, 13)

logger = logging.getLogger(__name__)


def now_as_text() -> str:
    """Return the present time, as in `2025-08-26T03:44:57.419Z`."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Server:
    """The server in one process of a node; made by `process`, lives until its `shutdown`.

    Args:
        settings: frozen.
        redis_url: where Redis is; the settings may have left that to a private one.
        config: of a worker; None for a node of one process.
        control: a worker's channel to its supervisor.
    """

    def __init__(
        self,
        settings: Settings,
        redis_url: str,
        config: WorkerConfig | None = None,
        control: ControlChannel | None = None,
    ) -> None:
        self._settings = settings
        self._config = config
        self._control = control
        self._name = process_name(settings.node.server_id, config)
        self._log_lines = OncePerSecond()
        self._channels = settings.events.broadcast_channels
        self._probe_channel = probe_channel(self._name).encode()
        self._redis_takes_writes = asyncio.Event()
        self._is_leaving = False
        self._file_limit = raise_file_limit()
        self._listener: asyncio.Server | None = None
        self._socket_inode = 0
        self._node_status: NodeStatus | None = None
        self._serving: asyncio.Task[None] | None = None

        self._peers_restart = BackgroundTask(self._start_peers)

        # State in memory
        self.hub = Hub()
        self.history = History(settings.history.history, settings.history.history_bytes)
        self.fanout = Fanout(
            self.hub,
            self.history,
            max_event_bytes=settings.events.max_event_bytes,
            event_names=settings.events.event_names,
            on_dropped=self._on_dropped,
        )
        self._event_loop_lag = Histogram()

        # Redis
        name = f"sse-node:{self._name}"  # in CLIENT LIST and in the log
        address = redis_address(redis_url)
        self.commands = RedisCommands(
            address,
            name=f"{name}:commands",
            timeout_s=settings.redis.timeout,
            max_connections=settings.redis.connections,
            on_read_only=self._on_read_only,
        )
        self._job_reader = RedisCommands(
            address, name=f"{name}:jobs", timeout_s=_JOB_READER_TIMEOUT_S, max_connections=1
        )
        self.log = EventLog(self.commands, settings.history.log_length)
        self._catch_up = CatchUp(
            self.log,
            self.history,
            self.fanout,
            history_limit=settings.history.history,
            on_position_lost=self._on_position_lost,
        )
        self._ingest = Ingest(
            self.fanout,
            self.history,
            probe_channel=self._probe_channel,
            on_probe=lambda payload: self.audit.on_probe(payload),
            now_s=time.time,
        )
        self.link = RedisLink(
            address,
            name=f"{name}:subscriber",
            channels=[
                USER_EVENTS,
                *(channel.encode() for channel in self._channels),
                self._probe_channel,
            ],
            on_batch=self._ingest.receive,
            catch_up=self._catch_up_and_serve,
            ping_interval_s=settings.redis.audit_interval / 2,
        )
        self.audit = Audit(
            self.log,
            self.history,
            self.link,
            server_id=self._name,
            interval_s=settings.redis.audit_interval,
            on_health=self._on_health,
        )
        self.snapshot_worker = SnapshotWorker(
            self.commands,
            self._job_reader,
            self.log,
            server_id=settings.node.server_id,
            consumer=self._name,
            kept=settings.history.snapshots_kept,
            now=now_as_text,
        )

        # Clients
        self._slow_clients = SlowClients(
            timeout_s=settings.streams.write_timeout,
            total_limit_bytes=settings.streams.write_limit_total,
        )
        self._retry = RetryTime(settings.streams.retry)
        self._replay = LogReplay(self.log, self.history, settings.history.replay_limit)
        self.streams = Streams(
            self.hub,
            Heartbeat(
                settings.streams.ping_interval,
                lambda: encode_ping(settings.node.server_id),
                self._event_loop_lag.observe,
            ),
            self._slow_clients,
            self._retry,
            settings.streams,
        )
        self.opening = Opening(
            self.streams,
            self.history,
            self._slow_clients,
            self._retry,
            server_id=settings.node.server_id,
            event_names=settings.events.event_names,
        )
        self.resources = self._make_resources()
        self._router = Router(
            self.resources,
            settings.http.cors_origin,
            general_headers=(
                (b"Server", b"sse-node"),
                (b"X-Server-Id", settings.node.server_id.encode()),
                (b"X-Content-Type-Options", b"nosniff"),
            ),
        )
        self.site = HttpSite(
            find_route=self._router.find,
            response_headers=self._router.response_headers,
            settings=settings.http,
            has_room=self._has_room,
        )
        self._deadlines = Periodic(
            _DEADLINE_LOOK_S,
            self._look_around,
        )
        self.metrics = Metrics(
            server_id=settings.node.server_id,
            hub=self.hub,
            history=self.history,
            fanout=self.fanout,
            streams=self.streams,
            slow_clients=self._slow_clients,
            site=self.site,
            link=self.link,
            commands=self.commands,
            audit=self.audit,
            replay=self._replay,
            snapshots=self.snapshot_worker,
            publish_to_write=self._ingest.publish_to_write,
            event_loop_lag=self._event_loop_lag,
        )

    def _make_resources(self) -> list[Resource]:
        settings = self._settings
        accounts = Accounts(self.commands, self.log, settings.events.default_user, now_as_text)
        snapshots = Snapshots(self.commands, settings.events.default_user)
        events = Events(self.log, self._channels, settings.events.max_event_bytes)
        event_stream = EventStreamResource(
            self.opening,
            self.history,
            self._replay,
            settings.events,
        )
        health = Health(
            settings.node.server_id,
            self.hub,
            self.streams,
            redis_usable=self._redis_usable,
            draining=lambda: self.site.draining,
            leaving=lambda: self._is_leaving,
            exposition=lambda: expose(self.metrics.families()),
        )
        figures: Health | NodeStatus = health
        if self._config is not None:
            figures = self._node_status = NodeStatus(
                self._config,
                figures=health.figures,
                users=self.hub.users,
                families=lambda: self.metrics.families(),
            )
        return [
            Resource("/events/sse", {"GET": event_stream.get}),
            Resource("/events/sse/{userId}", {"GET": event_stream.get}),
            Resource("/events", {"POST": events.publish}, _MAX_EVENTS_CONTENT_BYTES),
            Resource("/accounts", {"GET": accounts.list, "POST": accounts.create}),
            Resource(
                "/accounts/{id}",
                {"GET": accounts.get, "PATCH": accounts.update, "DELETE": accounts.delete},
            ),
            Resource("/snapshots", {"GET": snapshots.list}),
            Resource("/health", {"GET": health.health}),
            Resource("/health/live", {"GET": health.live}),
            Resource("/health/ready", {"GET": health.ready}),
            Resource("/status", {"GET": figures.status}),
            Resource("/metrics", {"GET": figures.metrics}),
            Resource("/", {"GET": health.page}),
        ]

    # What the parts tell each other

    def _on_dropped(self, error: PublisherError) -> None:
        if self._log_lines.allows(error.reason):
            logger.warning("a payload from Redis was dropped: %s: %s", error.reason, error)

    async def _catch_up_and_serve(self) -> None:
        await self._catch_up.run()
        if not self.site.draining:
            self.streams.serving = True

    def _on_position_lost(self, reason: str) -> None:
        self.streams.reset_all(reason, self.history.position)

    def _on_health(self, takes_writes: bool) -> None:
        if takes_writes:
            self._redis_takes_writes.set()
        else:
            self._redis_takes_writes.clear()

    def _on_read_only(self) -> None:
        """Commands will go to the new master now; the subscription must not stay behind."""
        if self._log_lines.allows("read-only"):
            self.link.rebuild("Redis has become a replica")

    def _redis_usable(self) -> bool:
        return self._redis_takes_writes.is_set() and self.link.up.is_set()

    def _look_around(self) -> None:
        self.site.close_overdue(asyncio.get_running_loop().time())
        if self._node_status is not None and self._node_status.peers.is_lost:
            logger.warning("the socket for the other workers was deleted; making it again")
            self._peers_restart.start()

    def _has_room(self) -> bool:
        clients = len(self.site.connections) + len(self.streams)
        return clients <= self._file_limit - _OWN_FILES

    # Start

    async def start(self, stop_asked: asyncio.Future[signal.Signals] | None = None) -> str:
        """Start everything; return the address that is listened on, for people.

        Args:
            stop_asked: a worker that waits for Redis before it listens waits no longer than this.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        listener = self._make_socket()
        self.streams.start()
        self.link.start()
        self.audit.start()
        self.snapshot_worker.start()
        self._deadlines.start()
        if self._config is not None:
            self._serving = asyncio.create_task(self._wait_until_serving())
            await asyncio.wait(
                (self._serving, stop_asked) if stop_asked else (self._serving,),
                timeout=self._config.redis_wait_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
        await self._start_peers()  # from now on other workers query this one
        await self._listen(listener)
        self._report(WorkerState.LISTENING)
        if self._serving is not None:
            self._serving.add_done_callback(self._on_serving)
        return address_of(listener)

    async def _start_peers(self) -> None:
        if self._node_status is not None:
            await self._node_status.peers.start()

    async def _wait_until_serving(self) -> None:
        await self.link.up.wait()
        await self._redis_takes_writes.wait()

    def _on_serving(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self._report(WorkerState.SERVING)

    def _report(self, state: WorkerState) -> None:
        if self._control is not None:
            self._control.send(state.name.lower())

    async def _listen(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        make_connection = lambda: HttpConnection(self.site)  # noqa: E731
        backlog = self._settings.listen.backlog
        if listener.family == socket.AF_UNIX:
            # Else event loops of Python 3.13 remove the socket of all workers when one closes it.
            options: dict[str, Any] = {"cleanup_socket": False} if _CLEANS_UP else {}
            self._listener = await loop.create_unix_server(
                make_connection, sock=listener, backlog=backlog, **options
            )
        else:
            self._listener = await loop.create_server(
                make_connection, sock=listener, backlog=backlog
            )

    def _make_socket(self) -> socket.socket:
        if self._config is not None:
            return socket.socket(fileno=self._config.listener)
        listener = make_listener(self._settings.listen)
        if self._settings.listen.uds:
            self._socket_inode = Path(self._settings.listen.uds).stat().st_ino
        return listener

    def add_crashes(self, count: int) -> None:
        """Add `count` crashed workers to the node's total."""
        if self._node_status is not None:
            self._node_status.add_crashes(count)

    # Stop

    async def drain(
        self, *, delay_s: float, at_once: asyncio.Event, node_leaves: bool = True
    ) -> None:
        """Leave in order: not ready, then no listener, then no streams, then no requests.

        Args:
            delay_s: for the balancer to notice, and for clients to be told by an answer that their
                connection closes: one closed under a request would look like a failure.
            at_once: ends the delay when it is set.
            node_leaves: False when another worker takes this one's connections: the node is ready.
        """
        settings = self._settings
        loop = asyncio.get_running_loop()
        end = loop.time() + settings.node.timeout_graceful_shutdown - _STOP_RESERVE_S
        self._is_leaving = node_leaves
        self.site.draining = True
        self.streams.serving = False
        logger.info("draining %d streams", len(self.streams))
        self._report(WorkerState.DRAINING)
        if not node_leaves:
            self._close_listener()
        if node_leaves or len(self.streams) or self.site.connections:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(delay_s, max(0.0, end - loop.time()))):
                    await at_once.wait()
        self._close_listener()
        wanted_s = len(self.streams) / settings.node.drain_rate
        await drain(self.streams, self._retry, min(wanted_s, max(0.0, end - loop.time())))
        self.site.close_idle()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(end):
                await self.streams.wait_closed()
                await self.site.wait_closed()

    def _close_listener(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def shutdown(self) -> None:
        """End everything that is still there."""
        self._close_listener()
        if self._serving is not None:
            self._serving.cancel()
        await self._peers_restart.shutdown()
        if self._node_status is not None:
            await self._node_status.peers.shutdown()
        self._deadlines.shutdown()
        await self.snapshot_worker.shutdown()
        await self.audit.shutdown()
        await self.link.shutdown()
        await self._replay.shutdown()
        self.streams.shutdown()
        for connection in list(self.site.connections):
            connection.abort()
        await asyncio.sleep(0)  # connections are told that they are lost
        await self.commands.shutdown()
        await self._job_reader.shutdown()
        if self._socket_inode:
            remove_socket(self._settings.listen.uds, self._socket_inode)

"""The composition root: every part of a process of a node, built once and connected."""

import asyncio
import time
from datetime import UTC, datetime

from sse_node.api.accounts import Accounts
from sse_node.api.event_stream import EventStreamResource
from sse_node.api.events import Events
from sse_node.api.health import Health
from sse_node.api.snapshot_jobs import SnapshotJobs
from sse_node.api.snapshots import Snapshots
from sse_node.config.reading import raise_file_limit
from sse_node.config.sections import Settings
from sse_node.delivery.fanout import Fanout
from sse_node.delivery.histogram import Histogram
from sse_node.delivery.history import History
from sse_node.delivery.hub import Hub
from sse_node.delivery.ingest import Ingest
from sse_node.http.router import Resource, Router
from sse_node.http.site import HttpSite
from sse_node.lifetimes.background_task import BackgroundTask
from sse_node.logs.dropped_payloads import DroppedPayloads
from sse_node.logs.rate_limit import OncePerSecond
from sse_node.node.control import WorkerConfig, process_name
from sse_node.node.metrics import Metrics
from sse_node.node.status import NodeStatus
from sse_node.redis.address import redis_address
from sse_node.redis.catch_up import CatchUp
from sse_node.redis.commands import RedisCommands
from sse_node.redis.event_log import EventLog
from sse_node.redis.keys import keys_of, probe_channel
from sse_node.redis.link_check import LinkCheck
from sse_node.redis.replay import LogReplay
from sse_node.redis.server_checks import ServerChecks
from sse_node.redis.subscription import Subscription
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
_JOB_READER_TIMEOUT_S = 5.0
# Audit intervals (in all a minute) after which a consumer of jobs that has not read is removed. It
# reads every second, and its node finds a dead link within two intervals.
_IDLE_INTERVALS = 12


def now_as_text() -> str:
    """Return the present time, as in `2025-08-26T03:44:57.419Z`."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Node:
    """All parts of one process of a node, built once; created by Server, lives as long as it.

    Args:
        settings: frozen.
        redis_url: where Redis is; the settings may have left that to a private one.
        config: of a worker; None for a node of one process.

    Attributes:
        is_leaving: the node is about to end, and nobody takes over from this process.
        redis_takes_writes: set while Redis does.
        status: answers for all workers; None in a node of one process.
    """

    def __init__(
        self, settings: Settings, redis_url: str, config: WorkerConfig | None = None
    ) -> None:
        self._settings = settings
        self._config = config
        self.server_id = settings.node.server_id
        self._name = process_name(settings.node.server_id, config)
        self._log_lines = OncePerSecond()
        self._channels = settings.events.broadcast_channels
        self._probe_channel = probe_channel(self._name).encode()
        self._file_limit = raise_file_limit()
        self.is_leaving = False
        self.redis_takes_writes = asyncio.Event()
        self.status: NodeStatus | None = None

        # State in memory
        self.hub = Hub()
        self.history = History(settings.history.history, settings.history.history_bytes)
        self.fanout = Fanout(
            self.hub,
            self.history,
            max_event_bytes=settings.events.max_event_bytes,
            event_names=settings.events.event_names,
            on_dropped=DroppedPayloads().log,
        )
        self.event_loop_lag = Histogram()

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
        self.job_reader = RedisCommands(
            address, name=f"{name}:jobs", timeout_s=_JOB_READER_TIMEOUT_S, max_connections=1
        )
        self._keys = keys_of(settings.redis.namespace, address.database)
        self.server_checks = ServerChecks(self.commands, _MAX_EVENTS_CONTENT_BYTES)
        self.server_checks_task = BackgroundTask(self.server_checks.run)
        self.log = EventLog(
            self.commands, settings.history.log_length, self._keys, settings.history.log_bytes
        )
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
            on_probe=lambda payload: self.link_check.on_probe(payload),
            now_s=time.time,
        )
        self.publish_to_write = self._ingest.publish_to_write
        self.link = Subscription(
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
            prefix=self._keys.prefix.encode(),
        )
        self.link_check = LinkCheck(
            self.log,
            self.history,
            self.link,
            server_id=self._name,
            interval_s=settings.redis.audit_interval,
            on_health=self._on_health,
        )
        self.snapshot_jobs = SnapshotJobs(
            self.commands,
            self.job_reader,
            self.log,
            server_id=settings.node.server_id,
            consumer=self._name,
            kept=settings.history.snapshots_kept,
            idle_s=_IDLE_INTERVALS * settings.redis.audit_interval,
            now=now_as_text,
        )

        # Clients
        self.slow_clients = SlowClients(
            timeout_s=settings.streams.write_timeout,
            total_limit_bytes=settings.streams.write_limit_total,
        )
        self.retry = RetryTime(settings.streams.retry)
        self.replay = LogReplay(self.log, self.history, settings.history.replay_limit)
        self.streams = Streams(
            self.hub,
            Heartbeat(
                settings.streams.ping_interval,
                lambda: encode_ping(settings.node.server_id),
                self.event_loop_lag.observe,
            ),
            self.slow_clients,
            self.retry,
            settings.streams,
        )
        self.opening = Opening(
            self.streams,
            self.history,
            self.slow_clients,
            self.retry,
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
        self.metrics = Metrics(self)

    def _make_resources(self) -> list[Resource]:
        settings = self._settings
        accounts = Accounts(self.commands, self.log, settings.events.default_user, now_as_text)
        snapshots = Snapshots(self.commands, self._keys, settings.events.default_user)
        events = Events(self.log, self._channels, settings.events.max_event_bytes)
        event_stream = EventStreamResource(
            self.opening,
            self.history,
            self.replay,
            settings.events,
        )
        health = Health(
            settings.node.server_id,
            self.hub,
            self.streams,
            self.server_checks,
            redis_usable=self._redis_usable,
            draining=lambda: self.site.draining,
            leaving=lambda: self.is_leaving,
            exposition=lambda: expose(self.metrics.families()),
        )
        figures: Health | NodeStatus = health
        if self._config is not None:
            figures = self.status = NodeStatus(
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

    # What connects the parts

    async def _catch_up_and_serve(self) -> None:
        await self._catch_up.run()
        if self.link.subscriptions:  # of an earlier connection: the server may be another one
            self.server_checks_task.start()
        else:
            await self.server_checks.run()
        if not self.site.draining:
            self.streams.serving = True

    def _on_position_lost(self, reason: str) -> None:
        self.streams.reset_all(reason, self.history.position)

    def _on_health(self, takes_writes: bool) -> None:
        if takes_writes:
            self.redis_takes_writes.set()
        else:
            self.redis_takes_writes.clear()

    def _on_read_only(self) -> None:
        """Commands will go to the new master now; the subscription must not stay behind."""
        if self._log_lines.allows("read-only"):
            self.link.reconnect("Redis has become a replica")

    def _redis_usable(self) -> bool:
        return self.redis_takes_writes.is_set() and self.link.up.is_set()

    def _has_room(self) -> bool:
        clients = len(self.site.connections) + len(self.streams)
        return clients <= self._file_limit - _OWN_FILES

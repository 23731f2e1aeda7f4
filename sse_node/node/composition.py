"""The composition root: every part of a process of a node, built once and connected."""

import time
from collections.abc import Callable
from functools import partial

from sse_node.access.gate import PROXY, Gate
from sse_node.access.limits import Limits
from sse_node.access.revocations import Revocations
from sse_node.access.rules import RULES, Requirement, is_for_operators
from sse_node.api.snapshot_jobs import SnapshotJobs
from sse_node.config.hosts import ANY
from sse_node.config.reading import raise_file_limit
from sse_node.config.sections import Settings
from sse_node.delivery.histogram import Histogram
from sse_node.http.cors import Cors
from sse_node.http.hosts import AllowedHosts, hosts_by_default
from sse_node.http.router import Guard, Resource, Router, general_headers
from sse_node.http.site import HttpSite, Route
from sse_node.lifetimes.background_task import BackgroundTask
from sse_node.logs.dropped_payloads import DroppedPayloads
from sse_node.logs.rate_limit import OncePerSecond
from sse_node.node.control import WorkerConfig, process_name
from sse_node.node.metrics import Metrics
from sse_node.node.process_memory import find_release, resident_bytes
from sse_node.node.resources import MAX_EVENTS_CONTENT_BYTES, make_resources, now_as_text
from sse_node.node.status import NodeStatus
from sse_node.redis.address import redis_address
from sse_node.redis.commands import RedisCommands
from sse_node.redis.connections import Connections
from sse_node.redis.event_log import EventLog
from sse_node.redis.keys import REVOCATIONS, keys_of, shard_keys
from sse_node.redis.link import Link
from sse_node.redis.namesakes import Namesakes
from sse_node.redis.sentinel_watch import SentinelWatch
from sse_node.redis.server_checks import ServerChecks
from sse_node.redis.server_figures import ServerFigures
from sse_node.redis.shard import Shard, ShardOwner
from sse_node.redis.shard_count import check_shard_count, if_redis_answers
from sse_node.redis.shards import make_shards
from sse_node.redis.subscriber import Message
from sse_node.redis.subscriptions import Subscriptions
from sse_node.streams.admission import Admission
from sse_node.streams.event_stream import CloseReason
from sse_node.streams.frames import encode_ping
from sse_node.streams.heartbeat import Heartbeat
from sse_node.streams.limits import StreamLimits
from sse_node.streams.opening import Opening
from sse_node.streams.registry import Streams
from sse_node.streams.retry import RetryTime
from sse_node.streams.slow_clients import SlowClients
from sse_node.wire.envelope import USER_EVENTS
from sse_node.wire.http_head import Request
from sse_node.wire.identity import Identity

# File descriptors that are no client's: Redis, the event loop, the log.
_OWN_FILES = 100
_MAX_ADMIN_CONNECTIONS = 50  # of the files above, so that operators get in when clients don't
_JOB_READER_TIMEOUT_S = 5.0
# Audit intervals after which a consumer of jobs that reads nothing is removed.
_IDLE_INTERVALS = 12


class Node:
    """All parts of one process of a node, built once; created by Server, lives as long as it.

    Args:
        settings: frozen.
        redis_url: where Redis is; the settings may have left that to a private one.
        config: of a worker; None for a node of one process.

    Attributes:
        is_leaving: the node is about to end, and nobody takes over from this process.
        status: answers for all workers; None in a node of one process.
        on_channels_complete: called once memory has what was published on all channels.
    """

    def __init__(
        self, settings: Settings, redis_url: str, config: WorkerConfig | None = None
    ) -> None:
        self._settings = settings
        self._config = config
        self.server_id = settings.node.server_id
        self._name = process_name(settings.node.server_id, config)
        self._log_lines = OncePerSecond()
        self.channels = settings.events.known_channels
        self._file_limit = raise_file_limit()
        self.is_leaving = False
        self.status: NodeStatus | None = None
        self.on_channels_complete: Callable[[], None] | None = None

        # State in memory
        self.event_loop_lag = Histogram()
        self.publish_to_write = Histogram()

        # Redis
        name = f"sse-node:{self._name}"  # in CLIENT LIST and in the log
        address = redis_address(redis_url)
        self.connections = Connections(
            address,
            name=f"{name}:commands",
            timeout_s=settings.redis.timeout,
            max_connections=settings.redis.connections,
            on_read_only=self._on_read_only,
        )
        self.job_reader = RedisCommands(
            address, name=f"{name}:jobs", timeout_s=_JOB_READER_TIMEOUT_S, max_connections=1
        )
        self.sentinel_watch = SentinelWatch(address, name)
        self.keys = keys_of(settings.redis.namespace, address.database)
        self.commands = self.connections.commands_for(self.keys.shards)
        count, in_cluster = settings.redis.shards, address.cluster is not None
        self.check_shards = partial(
            check_shard_count, self.commands, self.keys, count, in_cluster=in_cluster
        )
        self.server_checks = ServerChecks(self.connections.of_servers, MAX_EVENTS_CONTENT_BYTES)
        self.server_checks_task = BackgroundTask(self.server_checks.run)
        keys = shard_keys(self.keys, count, in_cluster=in_cluster)
        audit_s = settings.redis.audit_interval
        self.namesakes = Namesakes(self._name, settings.node.timeout_graceful_shutdown, 2 * audit_s)
        self.subscriptions = Subscriptions(
            address,
            name=f"{name}:subscriber",
            keys=self.keys,
            shards=len(keys),
            ping_interval_s=audit_s / 2,
            plain_channels=self.plain_channels(),
            on_plain=lambda batch: self.shards.receive_plain(batch),
        )
        owner = ShardOwner(
            namesakes=self.namesakes,
            control={REVOCATIONS.encode(): lambda payload: self.revocations.on_message(payload)},
            publish_to_write=self.publish_to_write,
            on_dropped=DroppedPayloads().log,
            on_position_lost=self._on_position_lost,
            on_health=self._on_health,
            make_link=self._make_link,
            subscriptions=self.subscriptions,
        )
        self.shards = make_shards(self.connections, keys, settings, owner)
        self.logs = self.shards.logs
        self.server_figures = ServerFigures(
            self.connections.of_servers, self.logs, self.server_checks.check_replication
        )
        self.server_figures_task = BackgroundTask(self.server_figures.read)
        self.snapshot_jobs = [self._make_snapshot_jobs(shard) for shard in self.shards]

        # Clients
        self.slow_clients = SlowClients(
            timeout_s=settings.streams.write_timeout,
            total_limit_bytes=settings.streams.write_limit_total,
        )
        self.retry = RetryTime(settings.streams.retry)
        self.streams = Streams(
            self.shards.hub_of,
            Heartbeat(
                settings.streams.ping_interval,
                lambda: encode_ping(settings.node.server_id),
                self._on_lag,
            ),
            self.slow_clients,
            self.retry,
            settings.streams,
            StreamLimits(settings.limits),
            Admission(settings.limits, resident_bytes, find_release()),
        )
        self.opening = Opening(
            self.streams,
            self.slow_clients,
            self.retry,
            server_id=settings.node.server_id,
            event_names=settings.events.event_names,
            end_of_access=self._end_of_access,
        )
        first = self.logs[0]
        self.revocations = Revocations(first.commands, first.keys, self._on_revoked)
        self.gate = Gate(
            settings.access,
            settings.http.cors_origin,
            self.revocations,
            self.opening.refuse,
            lambda: self.streams.end_keys(self.gate.holds_key),
        )
        self.limits = Limits(settings.limits, self.gate.trusted)
        self.resources, self.status = make_resources(self, settings, config)
        router = self._make_router(settings)
        # Without a guard: a program that reaches this listener is an operator's. No page gets in.
        self._admin_router = Router(
            [each for each in self.resources if is_for_operators(each.path)],
            Cors(()),
            AllowedHosts((ANY,) if settings.access.admin_uds else ()),
            general_headers(self.server_id),
        )
        self.site = HttpSite(
            find_route=router.find,
            response_headers=router.response_headers,
            settings=settings.http,
            room=self._room,
            needs_peers=self._needs_peers,
        )
        self.admin_site = HttpSite(
            find_route=self._find_admin_route,
            response_headers=self._admin_router.response_headers,
            settings=settings.http,
            room=lambda: _MAX_ADMIN_CONNECTIONS,
        )
        self.metrics = Metrics(self)

    def change_subscription(self, on_complete: Callable[[], None]) -> None:
        """Subscribe to the channels as they are now.

        Args:
            on_complete: called once, when the memory has what was published on them before.
        """
        self.on_channels_complete = on_complete
        for shard in self.shards:
            shard.catch_up.want_refill()
            shard.link.change_channels([*self.plain_channels(), *shard.internal_channels])
        self.subscriptions.change_plain_channels(self.plain_channels())

    def serve(self, resources: list[Resource], settings: Settings) -> None:
        """Answer requests that come from now on by other resources and settings."""
        self.resources = resources
        router = self._make_router(settings)
        self.site.find_route = router.find
        self.site.response_headers = router.response_headers
        self.site.needs_peers = self._needs_peers

    def _make_router(self, settings: Settings) -> Router:
        return Router(
            self.resources,
            Cors(settings.http.cors_origin),
            AllowedHosts(settings.http.allowed_hosts or hosts_by_default(settings.listen)),
            general_headers(self.server_id),
            self._guard_of,
        )

    @property
    def _needs_peers(self) -> bool:
        return self._settings.access.auth == PROXY or self.limits.needs_clients

    def plain_channels(self) -> list[bytes]:
        """Return the Redis channels of events, by their plain names."""
        return [USER_EVENTS, *(channel.encode() for channel in self.channels.redis_channels)]

    def _make_link(self, shard: Shard, on_batch: Callable[[list[Message]], None]) -> Link:
        return self.subscriptions.make_link(
            shard.number,
            shard.log.keys,
            [*self.plain_channels(), *shard.internal_channels],
            on_batch,
            lambda: self._catch_up_and_serve(shard),
        )

    def _make_snapshot_jobs(self, shard: Shard) -> SnapshotJobs:
        settings = self._settings
        return SnapshotJobs(
            shard.log,
            # Of several shards, a reader that waits for each would be too many.
            self.job_reader if self.subscriptions.is_one else None,
            server_id=settings.node.server_id,
            consumer=self._name,
            kept=settings.history.snapshots_kept,
            idle_s=_IDLE_INTERVALS * settings.redis.audit_interval,
            now=now_as_text,
        )

    def on_account_created(self, log: EventLog) -> None:
        """An account was created through this process; its snapshot job waits in this shard."""
        jobs = zip(self.logs, self.snapshot_jobs, strict=True)
        next(each for its_log, each in jobs if its_log is log).tell()

    # What connects the parts

    def _guard_of(self, method: str, path: str) -> Guard | None:
        requirement = RULES[method, path]
        admit = self.gate.guard(requirement)
        if path.startswith("/health"):
            return admit
        is_stream = requirement is Requirement.OWN_STREAM
        return self.limits.guard(admit, self.opening.refuse if is_stream else None)

    def _find_admin_route(self, request: Request) -> Route:
        request.is_admin = True
        return self._admin_router.find(request)

    def _end_of_access(self, identity: Identity) -> CloseReason | None:
        if self.revocations.covers(identity):
            return CloseReason.REVOKED
        holds = self.gate.holds_key(identity.key) and identity.expires_s > time.time()
        return None if holds else CloseReason.TOKEN_EXPIRED

    def _on_revoked(self, name: str) -> None:
        kind, _, value = name.partition(":")
        if kind == "user":
            self.streams.revoke_user(value)
        else:
            self.streams.revoke_token(value)

    async def _catch_up_and_serve(self, shard: Shard) -> None:
        if shard.number == 0:
            await if_redis_answers(self.check_shards)
            await self.revocations.load()
        await shard.catch_up.run()
        if self.on_channels_complete is not None and self.shards.are_whole:
            for each in self.shards:
                each.replay.forget()
            self.on_channels_complete()
            self.on_channels_complete = None
        if shard.number == 0:
            if shard.link.subscriptions:  # of an earlier connection: perhaps of another server
                self.server_checks_task.start()
            else:
                await self.server_checks.run()
        shard.serving = True
        has_revocations = self.revocations.is_loaded or not self.gate.has_identities
        if has_revocations and not self.site.draining:
            self.streams.serving = True

    def _on_position_lost(self, shard: Shard, reason: str) -> None:
        self.streams.reset_all(shard.hub, reason, shard.history.position)

    def _on_lag(self, lag_s: float) -> None:
        self.event_loop_lag.observe(lag_s)
        self.streams.admission.on_lag(lag_s)

    def _on_health(self, shard: Shard, takes_writes: bool) -> None:
        shard.was_probed = True
        if takes_writes:
            shard.takes_writes.set()
        else:
            shard.takes_writes.clear()
        if shard.number == 0:
            if takes_writes:
                self.server_figures_task.start()
            else:
                self.server_figures.forget()

    def _on_read_only(self) -> None:
        """Commands will go to the new master now; the subscription must not stay behind."""
        if self._log_lines.allows("read-only"):
            self.subscriptions.reconnect("Redis has become a replica")

    def redis_usable(self) -> bool:
        """Return whether events can be published and are received."""
        return self.shards.usable

    def _room(self) -> int:
        clients = len(self.site.connections) + len(self.streams)
        return self._file_limit - _OWN_FILES - clients

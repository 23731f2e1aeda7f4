"""Which numbers of the node become which metrics, by Prometheus' naming rules."""

import platform
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from sse_node import __version__
from sse_node.delivery.histogram import LATENCY_BOUNDS_S, Histogram
from sse_node.errors import RESET_REASONS
from sse_node.logs.stderr import dropped_lines
from sse_node.redis.server_checks import CHECKS
from sse_node.streams.admission import LAG, MEMORY
from sse_node.streams.event_stream import CloseReason
from sse_node.streams.opening import REFUSAL_REASONS
from sse_node.wire.envelope import DROP_REASONS
from sse_node.wire.prometheus import histogram_family

if TYPE_CHECKING:
    from sse_node.node.composition import Node


class Metrics:
    """The metrics of one process; lives as long as its node.

    Args:
        node: whose numbers are exposed.
    """

    def __init__(self, node: "Node") -> None:
        self._node = node

    def families(self) -> Iterator[Metric]:
        """Yield every metric family with its present values."""
        build = InfoMetricFamily("sse_node_build", "Version of the node and its Python.")
        build.add_metric(
            [],
            {
                "version": __version__,
                "python": platform.python_version(),
                "server_id": self._node.server_id,
            },
        )
        yield build
        yield from self._stream_families()
        yield from self._event_families()
        yield from self._http_families()
        yield from self._redis_families()
        yield from self._redis_server_families()

    def _stream_families(self) -> Iterator[Metric]:
        streams = self._node.streams
        yield _gauge("sse_node_streams", "Open event streams.", len(streams))
        yield _gauge("sse_node_streams_limit", "Event streams at most.", streams.max_streams)
        admission = streams.admission
        yield _gauge("sse_node_memory_bytes", "Resident memory.", admission.resident_bytes)
        yield _gauge(
            "sse_node_memory_limit_bytes",
            "Resident memory over which new streams are refused.",
            admission.memory_limit,
        )
        yield _gauge(
            "sse_node_connected_users", "Users with a stream.", self._node.shards.connected_users
        )
        yield _counter("sse_node_streams_opened", "Event streams opened.", streams.opened)
        yield _counter("sse_node_streams_resumed", "Streams that resumed.", streams.resumed)
        yield _counter("sse_node_replayed_events", "Events replayed.", streams.replayed)
        yield _by(
            "sse_node_streams_closed",
            "Event streams closed.",
            "reason",
            {reason.value: streams.closed[reason] for reason in CloseReason},
        )
        yield _by(
            "sse_node_streams_refused",
            "Stream requests answered with a retry.",
            "reason",
            {reason: streams.refused[reason] for reason in REFUSAL_REASONS},
        )
        overload = streams.overload
        yield _by(
            "sse_node_overloaded",
            "Whether new streams are refused because the process is overloaded.",
            "reason",
            {reason: int(overload == reason) for reason in (MEMORY, LAG)},
            gauge=True,
        )
        yield _by(
            "sse_node_resets",
            "Streams that got sse.reset.",
            "reason",
            {reason: streams.resets[reason] for reason in RESET_REASONS},
        )
        yield _gauge(
            "sse_node_waiting_bytes",
            "Bytes that wait for slow clients.",
            self._node.slow_clients.waiting_bytes,
        )

    def _event_families(self) -> Iterator[Metric]:
        shards = self._node.shards
        fanouts = [shard.fanout for shard in shards]
        dropped = sum((fanout.dropped for fanout in fanouts), Counter[str]())
        yield _counter(
            "sse_node_messages_received", "Redis messages.", sum(each.messages for each in fanouts)
        )
        yield _counter(
            "sse_node_messages_seen_before",
            "Messages seen.",
            sum(each.duplicates for each in fanouts),
        )
        yield _by(
            "sse_node_messages_dropped",
            "Payloads from which no event could be made.",
            "reason",
            {reason: dropped[reason] for reason in DROP_REASONS},
        )
        yield _counter(
            "sse_node_deliveries",
            "Events written to streams.",
            sum(each.deliveries for each in fanouts),
        )
        yield _counter(
            "sse_node_delivered_bytes",
            "Bytes of events written.",
            sum(each.delivered_bytes for each in fanouts),
        )
        yield _histogram(
            "sse_node_publish_to_write_seconds",
            "From the log's id to the write, for the oldest event of a batch.",
            self._node.publish_to_write,
        )
        yield _histogram(
            "sse_node_event_loop_lag_seconds",
            "How late the heartbeat's timer came.",
            self._node.event_loop_lag,
        )
        yield _gauge(
            "sse_node_history_events",
            "Events in memory.",
            sum(len(shard.history) for shard in shards),
        )
        yield _gauge(
            "sse_node_history_bytes",
            "Bytes of payloads in memory.",
            sum(shard.history.payload_bytes for shard in shards),
        )
        yield _counter(
            "sse_node_log_replays",
            "Readings of the log for replays.",
            sum(shard.replay.log_reads for shard in shards),
        )
        yield _counter(
            "sse_node_snapshots_finished",
            "Snapshot jobs finished.",
            sum(jobs.finished for jobs in self._node.snapshot_jobs),
        )

    def _http_families(self) -> Iterator[Metric]:
        yield _counter(
            "sse_node_log_lines_dropped", "Log lines that stderr did not take.", dropped_lines()
        )
        site = self._node.site
        yield _by(
            "sse_node_http_responses",
            "Responses other than streams.",
            "status",
            {str(status): count for status, count in site.answered.items()},
        )
        yield _gauge(
            "sse_node_http_connections", "Connections that are no stream.", len(site.connections)
        )
        yield _counter(
            "sse_node_http_connections_refused", "Over the limit.", site.refused_connections
        )
        yield _counter(
            "sse_node_http_connections_replaced",
            "Idle connections closed to make room for new ones.",
            site.replaced_connections,
        )
        yield _counter("sse_node_http_timeouts", "Connections too slow.", site.timed_out)
        yield _gauge(
            "sse_node_http_waiting_bytes",
            "Bytes that HTTP connections hold for slow clients.",
            site.backlog.held_bytes,
        )
        yield _counter(
            "sse_node_http_connections_cut",
            "Connections closed over the total limit of waiting bytes.",
            site.backlog.cut,
        )
        yield _by(
            "sse_node_requests_limited",
            "Requests over a limit per second.",
            "limit",
            {limit.name: limit.exceeded for limit in self._node.limits.all},
        )

    def _redis_families(self) -> Iterator[Metric]:
        checks = self._node.server_checks
        yield _by(
            "sse_node_redis_warnings",
            "Whether the Redis server fails a check.",
            "check",
            {check: int(check in checks.warnings) for check in CHECKS},
            gauge=True,
        )
        shards, commands = self._node.shards, self._node.connections
        logs = self._node.logs
        yield _by(
            "sse_node_redis_up",
            "Whether a connection to Redis is up.",
            "connection",
            {"subscriber": int(shards.are_heard), "commands": int(commands.up)},
            gauge=True,
        )
        yield _by(
            "sse_node_redis_reconnects",
            "Times a connection came back.",
            "connection",
            {
                "subscriber": max(max(0, shard.link.subscriptions - 1) for shard in shards),
                "commands": commands.reconnects,
            },
        )
        yield _counter(
            "sse_node_redis_command_failures", "Commands that failed.", commands.failures
        )
        yield _counter(
            "sse_node_redis_failovers",
            "Times that sentinels or a cluster have named another master.",
            commands.failovers,
        )
        yield _by(
            "sse_node_redis_requests_refused",
            "Requests for which Redis was not asked, because too many waited.",
            "kind",
            {"read": logs.reads.refused, "write": logs.writes.refused},
        )
        yield _gauge(
            "sse_node_server_id_in_use",
            "Whether another live process has this one's server id, for longer than a restart.",
            int(self._node.namesakes.is_found),
        )
        yield _counter(
            "sse_node_redis_link_rebuilds",
            "Connections that the link check replaced.",
            sum(shard.check.rebuilds for shard in shards),
        )
        yield _by(
            "sse_node_shard_usable",
            "Whether events of a shard can be published and are received.",
            "shard",
            {str(shard.number): int(shard.usable) for shard in shards},
            gauge=True,
        )

    def _redis_server_families(self) -> Iterator[Metric]:
        figures = self._node.server_figures.newest
        yield _by(
            "sse_node_shard_log_events",
            "Entries of the event log of a shard.",
            "shard",
            {str(number): length for number, (length, _) in figures.logs.items()},
            gauge=True,
        )
        yield _by(
            "sse_node_shard_log_events_added",
            "Entries that the event log of a shard was ever given.",
            "shard",
            {
                str(number): added
                for number, (_, added) in figures.logs.items()
                if added is not None
            },
        )
        for make, name, documentation, value in (
            (_gauge, "memory_bytes", "Memory that Redis uses.", figures.memory_bytes),
            (
                _gauge,
                "memory_limit_bytes",
                "Redis' maxmemory, 0 for no limit.",
                figures.memory_limit_bytes,
            ),
            (_counter, "evicted_keys", "Keys that Redis has evicted.", figures.evicted_keys),
            (_gauge, "replicas", "Replicas connected to Redis.", figures.replicas),
            (
                _gauge,
                "replication_lag_seconds",
                "Since the slowest replica has confirmed what it has.",
                figures.replication_lag_s,
            ),
            (
                _gauge,
                "replication_lag_bytes",
                "What the slowest replica has not confirmed.",
                figures.replication_lag_bytes,
            ),
            (_gauge, "log_events", "Entries of the event logs.", figures.log_events),
            (
                _counter,
                "log_events_added",
                "Entries that the event logs were ever given.",
                figures.log_events_added,
            ),
        ):
            yield make(f"sse_node_redis_{name}", documentation, value)


def _gauge(name: str, documentation: str, value: float | None) -> Metric:
    """Return a gauge; without a sample when the value is not known."""
    return GaugeMetricFamily(name, documentation, value=value)


def _counter(name: str, documentation: str, value: float | None) -> Metric:
    return CounterMetricFamily(name, documentation, value=value)


def _by(
    name: str, documentation: str, label: str, values: dict[str, int], *, gauge: bool = False
) -> Metric:
    make = GaugeMetricFamily if gauge else CounterMetricFamily
    family = make(name, documentation, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family


def _histogram(name: str, documentation: str, histogram: Histogram) -> HistogramMetricFamily:
    return histogram_family(
        name, documentation, LATENCY_BOUNDS_S, histogram.counts, histogram.sum_s
    )

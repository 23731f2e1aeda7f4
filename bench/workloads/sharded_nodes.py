"""`nodes --shards`: what an event costs Redis and each node, with and without affinity.

With affinity a user's stream is at the node that has the user's shard, as `sse-node nginx` sends
it there; without, users are spread in turn. All nodes share one core, all else shares the others.
"""

import contextlib
from collections.abc import Iterator

from bench.harness.shard_fleet import ShardFleet
from bench.measure import procfs as proc
from bench.measure.load import Client, Clients
from bench.measure.log_publisher import LogPublisher
from bench.measure.sample import Figure, Sample, cells, medians_of
from bench.measure.steady import Load
from bench.report.tables import Measurements, Screen, measurements, table
from bench.workloads import multi_node
from bench.workloads.multi_node import Settings
from sse_node.wire.sharding import shard_of

FIGURES = (
    Figure("node_cpu_us", "CPU µs an event and node", digits=2),
    Figure("heard_share", "heard by a node, %", digits=0),
    Figure("redis_cpu_us", "Redis CPU µs an event", digits=2),
    Figure("busiest", "busiest master / mean", digits=2),
    Figure("p50_ms", "p50 ms", digits=2),
    Figure("p99_ms", "p99 ms", digits=2),
)
COLUMNS = ("masters, nodes", *(figure.title for figure in FIGURES))
_MASTERS = (1, 3)


def run(settings: Settings, core: int, screen: Screen) -> Measurements:
    """Measure. Raises ProcessError."""
    samples: dict[str, list[Sample]] = {}
    for _ in range(settings.rounds):
        for masters, count, affine in _cases(settings):
            name = f"{masters}, {count}{' affine' if affine else ''}"
            with ShardFleet(count, settings.shards, masters, cpu=core) as fleet:
                sample = measure(fleet, settings, screen, affine=affine)
            samples.setdefault(name, []).append(sample)
            screen.add_row(name, *cells(multi_node.FIGURES, sample.values))
    summary = ((name, *cells(FIGURES, medians_of(group))) for name, group in samples.items())
    return measurements(samples, table("nodes with shards", COLUMNS, summary))


def _cases(settings: Settings) -> Iterator[tuple[int, int, bool]]:
    for masters in _MASTERS:
        for count in settings.nodes:
            yield masters, count, False
            if count > 1:
                yield masters, count, True


def measure(fleet: ShardFleet, settings: Settings, screen: Screen, *, affine: bool) -> Sample:
    """Measure running nodes without streams. Raises ProcessError."""
    with contextlib.ExitStack() as running:
        publisher = running.enter_context(LogPublisher(fleet.places))
        clients = [running.enter_context(Client(*address)) for address in fleet.addresses]
        screen.step(f"{fleet.name}: opening streams")
        used = set()
        for user in range(settings.streams):
            node = user % len(clients)
            if affine:
                shard = shard_of(f"bench-{user}", settings.shards)
                node = shard * len(clients) // settings.shards
            used.add(node)
            clients[node].open_streams(1, "/events/sse/bench-{}", first=user)
        load = Load(
            fleet.name,
            fleet.pids,
            Clients([clients[node] for node in sorted(used)]),
            publisher,
            payload_bytes=settings.payload_bytes,
            streams=settings.streams,
            users=settings.streams,
        )
        load.send(settings.warmup_s * settings.rate, settings.rate, screen)
        before = [proc.cpu_time(server.pid).total_s for server in fleet.servers]
        heard = _heard(fleet)
        sending = load.send(settings.measured_s * settings.rate, settings.rate, screen)
        busy = [
            proc.cpu_time(server.pid).total_s - earlier
            for server, earlier in zip(fleet.servers, before, strict=True)
        ]
        heard = _heard(fleet) - heard
    events, nodes = sending.schedule.count, len(fleet.nodes)
    own = {
        "nodes": nodes,
        "node_cpu_us": sending.cpu.total_s / events / nodes * 1e6,
        "redis_cpu_us": sum(busy) / events * 1e6,
        "busiest": max(busy) / (sum(busy) / len(busy)),
        "heard_share": heard / events / nodes * 100,
    }
    return Sample(sending.values() | own, notes=sending.problems)


def _heard(fleet: ShardFleet) -> float:
    return sum(node.metric("sse_node_messages_received_total") for node in fleet.nodes)

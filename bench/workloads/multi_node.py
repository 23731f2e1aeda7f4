"""`nodes`: more and more nodes on one Redis at the same rate: what an event costs each of them.

The users have a stream each and are spread over the nodes. Every node receives every event; one
node has the user's stream. All nodes share one core; Redis, the publisher and the clients share
the others. So the figure is CPU per event, not the rate that the nodes could reach. Rounds
alternate between the numbers of nodes.
"""

import contextlib
from typing import Annotated

import msgspec

from bench.harness.fleet import Fleet, shares
from bench.measure import procfs as proc
from bench.measure.load import Client, Clients
from bench.measure.sample import Figure, Sample, cells, medians_of
from bench.measure.steady import Load
from bench.options import Payload, Rate, Rounds, Seconds, Warmup
from bench.report.tables import Measurements, Screen, measurements, table

FIGURES = (
    Figure("node_cpu_us", "CPU µs an event and node", digits=2),
    Figure("cpu_us", "a delivery", digits=2),
    Figure("redis_cpu_us", "Redis CPU µs", digits=2),
    Figure("p50_ms", "p50 ms", digits=2),
    Figure("p99_ms", "p99 ms", digits=2),
)
COLUMNS = ("nodes", *(figure.title for figure in FIGURES))


class Settings(msgspec.Struct, frozen=True):
    """What is measured."""

    nodes: Annotated[
        list[Annotated[int, msgspec.Meta(ge=1)]],
        msgspec.Meta(description="Numbers of nodes, in turn, separated by commas."),
    ] = msgspec.field(default_factory=lambda: [1, 2, 4, 8])
    streams: Annotated[
        int, msgspec.Meta(ge=1, le=15000, description="Of all nodes, a user each.")
    ] = 1_000
    shards: Annotated[
        int,
        msgspec.Meta(ge=0, le=64, description="Shards, on 1 and on 3 masters; 0 for none."),
    ] = 0
    rate: Rate = 1_000.0
    warmup_s: Warmup = 2.0
    measured_s: Seconds = 5.0
    rounds: Rounds = 5
    payload_bytes: Payload = 200

    def __post_init__(self) -> None:
        """Raise ValueError for more nodes than streams."""
        if max(self.nodes) > self.streams:
            raise ValueError(f"--nodes {max(self.nodes)}: expected at most --streams")


def measure(fleet: Fleet, settings: Settings, screen: Screen) -> Sample:
    """Measure running nodes without streams. Raises ProcessError."""
    with contextlib.ExitStack() as running:
        publisher = running.enter_context(fleet.sender())
        clients = [running.enter_context(Client(*address)) for address in fleet.addresses]
        screen.step(f"{fleet.name}: opening streams")
        first = 0
        for client, count in zip(clients, shares(settings.streams, fleet.count), strict=True):
            client.open_streams(count, fleet.target("bench-{}"), first=first)
            first += count
        load = Load(
            fleet.name,
            fleet.pids,
            Clients(clients),
            publisher,
            payload_bytes=settings.payload_bytes,
            streams=settings.streams,
            users=settings.streams,
        )
        load.send(settings.warmup_s * settings.rate, settings.rate, screen)
        redis_before = proc.cpu_time(fleet.redis.pid)
        sending = load.send(settings.measured_s * settings.rate, settings.rate, screen)
        redis_cpu = proc.cpu_time(fleet.redis.pid) - redis_before
    events = sending.schedule.count
    own = {
        "nodes": fleet.count,
        "cpu_us": sending.cpu.total_s / events * 1e6,
        "node_cpu_us": sending.cpu.total_s / events / fleet.count * 1e6,
        "redis_cpu_us": redis_cpu.total_s / events * 1e6,
    }
    return Sample(sending.values() | own, notes=sending.problems)


def run(settings: Settings, core: int, screen: Screen) -> Measurements:
    """Measure. Raises ProcessError."""
    if settings.shards:
        from bench.workloads import sharded_nodes

        return sharded_nodes.run(settings, core, screen)
    samples: dict[str, list[Sample]] = {str(count): [] for count in sorted(settings.nodes)}
    for _ in range(settings.rounds):
        for count in settings.nodes:
            with Fleet(count, cpu=core) as fleet:
                sample = measure(fleet, settings, screen)
            samples[str(count)].append(sample)
            screen.add_row(str(count), *cells(FIGURES, sample.values))
    summary = ((count, *cells(FIGURES, medians_of(group))) for count, group in samples.items())
    return measurements(samples, table("nodes", COLUMNS, summary))

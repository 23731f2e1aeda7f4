"""`nodes`: more and more nodes on one Redis at the same rate: what an event costs each of them.

A user each, the users spread over the nodes: every node receives every event, one of them has the
user's stream. All nodes share one core; Redis, the publisher and the clients share the others. So
what is told is CPU per event, not how many events they could take. Numbers of nodes take turns.
"""

import contextlib
import statistics
from typing import Annotated

import msgspec

from bench.harness.fleet import Fleet, shares
from bench.measure import procfs as proc
from bench.measure.load import FIRST_NUMBER, Client, Schedule, measure_together
from bench.measure.steady import problems_of, rounded_to_users
from bench.options import Payload, Rounds, Seconds, Warmup
from bench.report.tables import Percentiles, Result, Screen, TextTable, percentiles, table

COLUMNS = ("nodes", "CPU µs an event and node", "a delivery", "Redis CPU µs", "p50 ms", "p99 ms")


class Settings(msgspec.Struct, frozen=True):
    """What is measured."""

    nodes: Annotated[
        list[Annotated[int, msgspec.Meta(ge=1)]],
        msgspec.Meta(description="How many, in turn, separated by commas."),
    ] = msgspec.field(default_factory=lambda: [1, 2, 4, 8])
    streams: Annotated[
        int, msgspec.Meta(ge=1, le=15000, description="Of all nodes, a user each.")
    ] = 1_000
    rate: Annotated[float, msgspec.Meta(ge=1, le=10000, description="Events a second.")] = 1_000.0
    warmup_s: Warmup = 2.0
    measured_s: Seconds = 5.0
    rounds: Rounds = 5
    payload_bytes: Payload = 200

    def __post_init__(self) -> None:
        """Raise ValueError for more nodes than streams."""
        if max(self.nodes) > self.streams:
            raise ValueError(f"--nodes {max(self.nodes)}: expected at most --streams")


class Measured(msgspec.Struct):
    """One window of so many nodes."""

    nodes: int
    events: int
    deliveries: int
    cpu_us: float
    """CPU time of all nodes an event, and so a delivery."""
    redis_cpu_us: float
    """CPU time of Redis an event."""
    client_busy: float
    latest_ms: float
    latency_ms: Percentiles
    problems: list[str]

    @property
    def node_cpu_us(self) -> float:
        """CPU time of one node an event."""
        return self.cpu_us / self.nodes


class NodesResult(Result):
    """What `nodes` found."""

    windows: list[Measured]

    def tables(self) -> list[TextTable]:
        """By the number of nodes, medians of the rounds."""
        rows = []
        for count in sorted({window.nodes for window in self.windows}):
            windows = [window for window in self.windows if window.nodes == count]
            figures = [
                statistics.median(window.node_cpu_us for window in windows),
                statistics.median(window.cpu_us for window in windows),
                statistics.median(window.redis_cpu_us for window in windows),
                statistics.median(window.latency_ms.p50 for window in windows),
                statistics.median(window.latency_ms.p99 for window in windows),
            ]
            rows.append((str(count), *(f"{figure:.2f}" for figure in figures)))
        return [table("nodes", COLUMNS, rows)]


def measure(fleet: Fleet, settings: Settings, screen: Screen) -> Measured:
    """Measure nodes that are up and have no streams. Raises ProcessError."""
    with contextlib.ExitStack() as running:
        publisher = running.enter_context(fleet.sender())
        clients = [running.enter_context(Client(*address)) for address in fleet.addresses]
        screen.step(f"{fleet.count} nodes: opening streams")
        first = 0
        for client, count in zip(clients, shares(settings.streams, fleet.count), strict=True):
            client.open_streams(count, fleet.target("bench-{}"), first=first)
            first += count
        warmup = _schedule(settings, FIRST_NUMBER, settings.warmup_s)
        schedule = _schedule(settings, FIRST_NUMBER + warmup.count, settings.measured_s)
        screen.step(f"{fleet.count} nodes: {schedule.count} events")
        measure_together(clients, publisher, warmup)
        before, redis_before = proc.cpu_time(*fleet.pids), proc.cpu_time(fleet.redis.pid)
        sent, received = measure_together(clients, publisher, schedule)
        cpu = proc.cpu_time(*fleet.pids) - before
        redis_cpu = proc.cpu_time(fleet.redis.pid) - redis_before
    return Measured(
        nodes=fleet.count,
        events=schedule.count,
        deliveries=sum(one.deliveries for one in received),
        cpu_us=cpu.total_s / schedule.count * 1e6,
        redis_cpu_us=redis_cpu.total_s / schedule.count * 1e6,
        client_busy=sum(one.cpu_s for one in received) / (schedule.count / schedule.rate),
        latest_ms=sent.latest_ns / 1e6,
        latency_ms=percentiles(one.latency_ns for one in received),
        problems=[
            problem
            for one in received
            for problem in problems_of(f"{fleet.count} nodes", schedule, sent, one)
        ],
    )


def run(settings: Settings, core: int, screen: Screen) -> NodesResult:
    """Measure. Raises ProcessError."""
    windows = []
    for _ in range(settings.rounds):
        for count in settings.nodes:
            with Fleet(count, cpu=core) as fleet:
                windows.append(measure(fleet, settings, screen))
            screen.add_row(*_cells(windows[-1]))
    problems = [problem for window in windows for problem in window.problems]
    return NodesResult(problems=problems, windows=windows)


def _schedule(settings: Settings, first: int, seconds: float) -> Schedule:
    count = rounded_to_users(seconds * settings.rate, settings.streams)
    return Schedule(first, count, settings.rate, settings.payload_bytes, users=settings.streams)


def _cells(measured: Measured) -> tuple[str, ...]:
    return (
        str(measured.nodes),
        f"{measured.node_cpu_us:.2f}",
        f"{measured.cpu_us:.2f}",
        f"{measured.redis_cpu_us:.2f}",
        f"{measured.latency_ms.p50:.2f}",
        f"{measured.latency_ms.p99:.2f}",
    )

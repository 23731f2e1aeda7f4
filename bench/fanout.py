"""``fanout``: one user with many streams, events at a steady rate, beside the floor.

The node has a core for itself; Redis, the publisher and the client share the others. Node and
floor take turns on that core (A B A B), with the same bytes, streams, rate and client, so that
what else happens on the machine falls on both. CPU per delivery is the process's whole CPU time
over the measured events, what it takes to receive them from Redis included.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

import msgspec

from bench import proc
from bench.floor import Floor
from bench.load import FIRST_NUMBER, Client, Publisher, Received, Schedule, Sender, Sent
from bench.processes import NodeProcess, RedisProcess
from bench.report import Percentiles, Result, percentiles, table

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.table import Table

    from bench.report import Screen

TARGET = "/events/sse/bench"
IDLE_TARGET = "/events/sse/idle-{}"  # a user each: what a node has in the end

COLUMNS = ("pair", "server", "per second", "CPU µs", "user", "kernel", "p50 ms", "p99 ms")


class Settings(msgspec.Struct, frozen=True):
    """What is measured."""

    streams: int
    rate: float
    warmup_s: float
    measured_s: float
    pairs: int
    payload_bytes: int
    idle_streams: int


class Window(msgspec.Struct):
    """One measured window of one server."""

    server: str
    deliveries: int
    deliveries_per_s: float
    frame_bytes: float
    user_us: float
    """CPU time a delivery, in user mode."""
    system_us: float
    server_busy: float
    """Share of its core."""
    client_busy: float
    latest_ms: float
    """How late the sender sent the latest event."""
    latency_ms: Percentiles

    @property
    def cpu_us(self) -> float:
        """CPU time a delivery."""
        return self.user_us + self.system_us


class Idle(msgspec.Struct):
    """What opening streams and having them costs the node."""

    streams: int
    bytes_per_stream: float
    """Process memory (PSS)."""
    opened_per_s: float
    client_busy: float


class FanoutResult(Result):
    """What ``fanout`` found."""

    ratio: float
    """CPU per delivery, node by floor: the median of the pairs."""
    ratios: list[float]
    node_cpu_us: float
    floor_cpu_us: float
    node_latency_ms: Percentiles
    floor_latency_ms: Percentiles
    idle: Idle
    windows: list[Window]

    def tables(self) -> list[Table]:
        """Node and floor side by side; windows by their median, latency over all of them."""
        servers = [
            [window for window in self.windows if window.server == name]
            for name in ("node", "floor")
        ]

        def row(name: str, unit: str, value: Callable[[Window], float]) -> list[str]:
            medians = [statistics.median(map(value, windows)) for windows in servers]
            return [name, *(f"{median:,.2f} {unit}" for median in medians)]

        def latency_row(name: str, value: Callable[[Percentiles], float]) -> list[str]:
            both = (self.node_latency_ms, self.floor_latency_ms)
            return [f"latency, {name}", *(f"{value(latency):,.2f} ms" for latency in both)]

        low, high = min(self.ratios), max(self.ratios)
        idle = self.idle
        rows = [
            row("CPU per delivery", "µs", lambda window: window.cpu_us),
            row("  in user mode", "µs", lambda window: window.user_us),
            row("  in the kernel", "µs", lambda window: window.system_us),
            ["  by the floor's", f"{self.ratio:.2f} (pairs {low:.2f} to {high:.2f})", "1"],
            row("deliveries per second", "", lambda window: window.deliveries_per_s),
            latency_row("p50", lambda latency: latency.p50),
            latency_row("p90", lambda latency: latency.p90),
            latency_row("p99", lambda latency: latency.p99),
            latency_row("p99.9", lambda latency: latency.p99_9),
            latency_row("highest", lambda latency: latency.highest),
            row("latest event sent late by", "ms", lambda window: window.latest_ms),
            row("its core busy", "%", lambda window: window.server_busy * 100),
            row("client's core busy", "%", lambda window: window.client_busy * 100),
            row("bytes of a frame", "", lambda window: window.frame_bytes),
            [f"memory per idle stream of {idle.streams:,}", f"{idle.bytes_per_stream:,.0f} B", ""],
            ["streams opened per second", f"{idle.opened_per_s:,.0f}", ""],
            ["client's core busy meanwhile", f"{idle.client_busy * 100:.0f} %", ""],
        ]
        return [table("fanout", ("", "node", "floor"), rows)]


class Target:
    """A server under load: its sender, its client, and the numbers of its events."""

    def __init__(self, name: str, pid: int, client: Client, sender: Sender) -> None:
        """Take a server that runs, its streams open."""
        self.name = name
        self.windows: list[Window] = []
        self.latencies: list[list[tuple[int, int]]] = []
        self.problems: list[str] = []
        self._pid = pid
        self._client = client
        self._sender = sender
        self._next_number = FIRST_NUMBER

    def warm_up(self, settings: Settings, screen: Screen) -> None:
        """Send events that don't count."""
        self._send(settings.warmup_s, settings, screen)

    def measure(self, settings: Settings, screen: Screen) -> Window:
        """Send events that count and keep what they cost."""
        before = proc.cpu_time(self._pid)
        schedule, sent, received = self._send(settings.measured_s, settings, screen)
        cpu = proc.cpu_time(self._pid) - before
        window = _window(self.name, schedule, cpu, sent, received)
        self.windows.append(window)
        self.latencies.append(received.latency_ns)
        return window

    def median_cpu_us(self) -> float:
        """CPU per delivery over the windows."""
        return statistics.median(window.cpu_us for window in self.windows)

    def _send(
        self, seconds: float, settings: Settings, screen: Screen
    ) -> tuple[Schedule, Sent, Received]:
        count = max(1, round(seconds * settings.rate))
        schedule = Schedule(self._next_number, count, settings.rate, settings.payload_bytes)
        self._next_number += count
        screen.step(f"{self.name}: {count} events", total=count * settings.streams)
        sent, received = self._client.measure(
            self._sender, schedule, lambda now: screen.advance_to(now.deliveries)
        )
        if sent.refused or not received.lossless(schedule):
            self.problems.append(
                f"{self.name}: {received.complete} of {received.streams} streams received the last "
                f"event, {received.alive} are open; {received.gaps} events out of order, "
                f"{sent.refused} refused by a full socket"
            )
        return schedule, sent, received


def run(settings: Settings, core: int, screen: Screen) -> FanoutResult:
    """Measure. Raises ProcessError."""
    with RedisProcess() as redis:
        idle = _measure_idle(settings, redis, core, screen)
        with (
            NodeProcess("--redis-url", redis.url, cpu=core) as node,
            Floor(core) as floor,
            Publisher(redis.url) as publisher,
            Client(node.host, node.port) as node_client,
            Client(floor.host, floor.port) as floor_client,
        ):
            node.wait_ready()
            screen.step("opening streams")
            node_client.open_streams(settings.streams, TARGET)
            floor_client.open_streams(settings.streams, TARGET)
            targets = (
                Target("node", node.pid, node_client, publisher),
                Target("floor", floor.pid, floor_client, floor),
            )
            _take_turns(targets, settings, screen)
    return _result(*targets, idle)


def _take_turns(targets: tuple[Target, Target], settings: Settings, screen: Screen) -> None:
    for target in targets:
        target.warm_up(settings, screen)
    for pair in range(settings.pairs):
        for target in targets:
            window = target.measure(settings, screen)
            screen.add_row(
                str(pair + 1),
                window.server,
                f"{window.deliveries_per_s:,.0f}",
                f"{window.cpu_us:.2f}",
                f"{window.user_us:.2f}",
                f"{window.system_us:.2f}",
                f"{window.latency_ms.p50:.2f}",
                f"{window.latency_ms.p99:.2f}",
            )


def _measure_idle(settings: Settings, redis: RedisProcess, core: int, screen: Screen) -> Idle:
    """On a node of its own, as every stream leaves something behind in the allocator."""
    screen.step(f"opening {settings.idle_streams} streams")
    with NodeProcess("--redis-url", redis.url, cpu=core) as node:
        node.wait_ready()
        before_bytes = proc.settled_pss_bytes(node.pid)
        with Client(node.host, node.port) as client:
            opened = client.open_streams(settings.idle_streams, IDLE_TARGET)
            after_bytes = proc.settled_pss_bytes(node.pid)
    return Idle(
        streams=settings.idle_streams,
        bytes_per_stream=(after_bytes - before_bytes) / settings.idle_streams,
        opened_per_s=opened.opened / opened.seconds,
        client_busy=opened.cpu_s / opened.seconds,
    )


def _window(
    server: str, schedule: Schedule, cpu: proc.CpuTime, sent: Sent, received: Received
) -> Window:
    deliveries = max(1, received.deliveries)
    seconds = schedule.count / schedule.rate
    return Window(
        server=server,
        deliveries=received.deliveries,
        deliveries_per_s=received.deliveries / seconds,
        frame_bytes=received.bytes / deliveries,
        user_us=cpu.user_s / deliveries * 1e6,
        system_us=cpu.system_s / deliveries * 1e6,
        server_busy=cpu.total_s / seconds,
        client_busy=received.cpu_s / seconds,
        latest_ms=sent.latest_ns / 1e6,
        latency_ms=percentiles([received.latency_ns]),
    )


def _result(node: Target, floor: Target, idle: Idle) -> FanoutResult:
    ratios = [
        node_window.cpu_us / floor_window.cpu_us
        for node_window, floor_window in zip(node.windows, floor.windows, strict=True)
    ]
    problems = node.problems + floor.problems
    if node.windows[0].frame_bytes != floor.windows[0].frame_bytes:
        problems.append(
            f"the node's frames have {node.windows[0].frame_bytes:.1f} bytes, "
            f"the floor's {floor.windows[0].frame_bytes:.1f}: they must be equal"
        )
    return FanoutResult(
        ratio=statistics.median(ratios),
        ratios=ratios,
        node_cpu_us=node.median_cpu_us(),
        floor_cpu_us=floor.median_cpu_us(),
        node_latency_ms=percentiles(node.latencies),
        floor_latency_ms=percentiles(floor.latencies),
        idle=idle,
        windows=[
            window for pair in zip(node.windows, floor.windows, strict=True) for window in pair
        ],
        problems=problems,
    )

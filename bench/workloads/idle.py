"""``idle``: what open streams cost while nothing is published, a user each.

Memory is that of the process (PSS, once it has settled), after so many streams and so many more.
What the kernel holds stands beside it: the buffers of all TCP sockets and its slabs, in which the
sockets themselves are; both ends of a stream and whatever else the machine does are in that.
CPU is measured with all streams open over whole intervals between pings, so it has every ping.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bench.harness.servers import SseNode
from bench.measure import procfs as proc
from bench.measure.load import Client
from bench.report.tables import Result, table

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.table import Table

    from bench.harness.servers import Server
    from bench.report.tables import Screen

COLUMNS = ("streams", "process MB", "B a stream", "kernel MB", "B a stream")
BAR_BYTES = 2_000
BAR_CPU_US = 2.2


class Settings(msgspec.Struct, frozen=True):
    """What is measured."""

    steps: list[int]
    """Open streams, rising."""
    seconds: float
    """For the CPU; whole intervals between pings."""


class Step(msgspec.Struct):
    """A server with so many streams."""

    streams: int
    process_bytes: int
    buffer_bytes: int
    """Of all TCP sockets of the machine."""
    slab_bytes: int
    """Of its kernel."""

    @property
    def kernel_bytes(self) -> int:
        """Both."""
        return self.buffer_bytes + self.slab_bytes


class Measured(msgspec.Struct):
    """What open streams cost one server."""

    server: str
    before: Step
    steps: list[Step]
    cpu_us: float
    """CPU time a second and stream."""
    pings: int
    """That all streams had meanwhile."""
    client_busy: float
    problems: list[str]

    def bytes_per_stream(self, step: Step) -> float:
        """Process memory grown since there was no stream."""
        return (step.process_bytes - self.before.process_bytes) / step.streams

    def kernel_bytes_per_stream(self, step: Step) -> float:
        """Kernel memory grown since then, both ends."""
        return (step.kernel_bytes - self.before.kernel_bytes) / step.streams


class IdleResult(Result):
    """What ``idle`` found."""

    node: Measured
    bytes_per_stream: float
    """With all streams."""
    kernel_bytes_per_stream: float

    def tables(self) -> list[Table]:
        """Memory by streams, and the figures that count."""
        node = self.node
        by_streams = [_cells(node, step) for step in node.steps]
        rows = [
            ("process memory per stream", f"{self.bytes_per_stream:,.0f} B", f"≤ {BAR_BYTES:,} B"),
            ("CPU per second and stream", f"{node.cpu_us:.2f} µs", f"≤ {BAR_CPU_US} µs"),
            ("kernel memory, both ends", f"{self.kernel_bytes_per_stream:,.0f} B", ""),
            ("client's core busy", f"{node.client_busy * 100:.0f} %", ""),
        ]
        return [table("memory", COLUMNS, by_streams), table("idle", ("", "node", "bar"), rows)]


def measure(
    server: Server,
    settings: Settings,
    screen: Screen,
    on_step: Callable[[Measured, Step], None] = lambda _measured, _step: None,
) -> Measured:
    """Measure a server that is up and has had no streams. Raises ProcessError."""
    before = _step(server, 0)
    measured = Measured(server.name, before, [], 0.0, 0, 0.0, [])
    with Client(server.host, server.port) as client:
        opened = 0
        for streams in settings.steps:
            screen.step(f"{server.name}: opening {streams} streams")
            client.open_streams(streams - opened, server.target("bench-{}"), first=opened)
            opened = streams
            measured.steps.append(_step(server, streams))
            on_step(measured, measured.steps[-1])
        screen.step(f"{server.name}: listening for {settings.seconds:.0f} s")
        cpu_before = proc.cpu_time(*server.pids)
        client.start_listening(settings.seconds)
        heard = client.heard(settings.seconds)
        cpu = proc.cpu_time(*server.pids) - cpu_before
    measured.cpu_us = cpu.total_s / settings.seconds / opened * 1e6
    measured.pings = heard.pings
    measured.client_busy = heard.cpu_s / settings.seconds
    if heard.alive != heard.streams:
        measured.problems.append(f"{heard.streams - heard.alive} streams were ended")
    return measured


def run(settings: Settings, core: int, screen: Screen) -> IdleResult:
    """Measure. Raises ProcessError."""
    with SseNode(core) as server:
        node = measure(
            server, settings, screen, lambda measured, step: screen.add_row(*_cells(measured, step))
        )
    return IdleResult(
        problems=node.problems,
        node=node,
        bytes_per_stream=node.bytes_per_stream(node.steps[-1]),
        kernel_bytes_per_stream=node.kernel_bytes_per_stream(node.steps[-1]),
    )


def _step(server: Server, streams: int) -> Step:
    process_bytes = proc.settled_pss_bytes(*server.pids)
    return Step(streams, process_bytes, proc.tcp_bytes(), proc.slab_bytes())


def _cells(measured: Measured, step: Step) -> tuple[str, ...]:
    return (
        f"{step.streams:,}",
        f"{step.process_bytes / 1e6:.1f}",
        f"{measured.bytes_per_stream(step):,.0f}",
        f"{step.kernel_bytes / 1e6:.1f}",
        f"{measured.kernel_bytes_per_stream(step):,.0f}",
    )

"""``fanout``: one user with many streams, events at a steady rate, beside the floor.

The node has a core for itself; Redis, the publisher and the client share the others. Node and
floor take turns on that core (A B A B), with the same bytes, streams, rate and client, so that
what else happens on the machine falls on both. CPU per delivery is the process's whole CPU time
over the measured events, what it takes to receive them from Redis included.
"""

from __future__ import annotations

import functools
import statistics
from typing import TYPE_CHECKING

import msgspec

from bench.harness.servers import SseNode
from bench.measure import procfs as proc
from bench.measure.load import Client
from bench.measure.steady import (
    Measured,
    Turns,
    Window,
    cpu_ratios,
    side_by_side,
    take_turns,
    under_load,
)
from bench.report.tables import Result, table
from bench.targets.c_floor import Floor

if TYPE_CHECKING:
    from rich.table import Table

    from bench.report.tables import Screen

COLUMNS = ("pair", "server", "per second", "CPU µs", "user", "kernel", "p50 ms", "p99 ms")


class Settings(msgspec.Struct, frozen=True):
    """What is measured."""

    streams: int
    payload_bytes: int
    idle_streams: int
    turns: Turns


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
    node: Measured
    floor: Measured
    idle: Idle

    def tables(self) -> list[Table]:
        """Node and floor side by side."""
        idle = self.idle
        rows = [
            *side_by_side(self.node, self.floor),
            [f"memory per idle stream of {idle.streams:,}", f"{idle.bytes_per_stream:,.0f} B", ""],
            ["streams opened per second", f"{idle.opened_per_s:,.0f}", ""],
            ["client's core busy meanwhile", f"{idle.client_busy * 100:.0f} %", ""],
        ]
        return [table("fanout", ("", "node", "floor"), rows)]


def run(settings: Settings, core: int, screen: Screen) -> FanoutResult:
    """Measure. Raises ProcessError."""
    opened = functools.partial(
        under_load, streams=settings.streams, payload_bytes=settings.payload_bytes, screen=screen
    )
    idle = _measure_idle(settings.idle_streams, core, screen)
    with (
        SseNode(core) as server,
        Floor(core) as floor,
        opened(server) as node_load,
        opened(floor) as floor_load,
    ):
        node, beside = take_turns((node_load, floor_load), settings.turns, _cells, screen)
    ratios = cpu_ratios(node, beside)
    problems = node.problems + beside.problems
    node_bytes, floor_bytes = node.windows[0].frame_bytes, beside.windows[0].frame_bytes
    if node_bytes != floor_bytes:
        problems.append(
            f"the node's frames have {node_bytes:.1f} bytes, the floor's {floor_bytes:.1f}: "
            "they must be equal"
        )
    return FanoutResult(
        problems=problems,
        ratio=statistics.median(ratios),
        ratios=ratios,
        node=node,
        floor=beside,
        idle=idle,
    )


def _measure_idle(streams: int, core: int, screen: Screen) -> Idle:
    """On a node of its own, as every stream leaves something behind in the allocator."""
    screen.step(f"opening {streams} streams, a user each")
    with SseNode(core) as server, Client(server.host, server.port) as client:
        before_bytes = proc.settled_pss_bytes(*server.pids)
        opened = client.open_streams(streams, server.target("idle-{}"))
        after_bytes = proc.settled_pss_bytes(*server.pids)
    return Idle(
        streams=streams,
        bytes_per_stream=(after_bytes - before_bytes) / streams,
        opened_per_s=opened.opened / opened.seconds,
        client_busy=opened.cpu_s / opened.seconds,
    )


def _cells(window: Window) -> tuple[str, ...]:
    return (
        f"{window.deliveries_per_s:,.0f}",
        f"{window.cpu_us:.2f}",
        f"{window.user_us:.2f}",
        f"{window.system_us:.2f}",
        f"{window.latency_ms.p50:.2f}",
        f"{window.latency_ms.p99:.2f}",
    )

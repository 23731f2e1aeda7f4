"""``unicast``: many users with one stream each, every event for one of them, beside the floor.

Here nothing is joined and nothing shared: an event costs what it takes to receive, decode and frame
it and to find and write to one stream. The node has a core for itself; Redis, the publisher and
the client share the others. Node and floor take turns on that core (A B A B).
"""

from __future__ import annotations

import functools
import statistics
from typing import TYPE_CHECKING

import msgspec

from bench.harness.servers import SseNode
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

COLUMNS = ("pair", "server", "CPU µs", "user", "kernel", "busy", "p50 ms", "p99 ms")


class Settings(msgspec.Struct, frozen=True):
    """What is measured."""

    users: int
    payload_bytes: int
    turns: Turns


class UnicastResult(Result):
    """What ``unicast`` found."""

    ratio: float
    """CPU per event, node by floor: the median of the pairs."""
    ratios: list[float]
    node: Measured
    floor: Measured

    def tables(self) -> list[Table]:
        """Node and floor side by side."""
        return [table("unicast", ("", "node", "floor"), side_by_side(self.node, self.floor))]


def run(settings: Settings, core: int, screen: Screen) -> UnicastResult:
    """Measure node and floor in turn. Raises ProcessError."""
    opened = functools.partial(
        under_load,
        streams=settings.users,
        users=settings.users,
        payload_bytes=settings.payload_bytes,
        screen=screen,
    )
    with (
        SseNode(core) as server,
        Floor(core) as floor,
        opened(server) as node_load,
        opened(floor) as floor_load,
    ):
        node, beside = take_turns((node_load, floor_load), settings.turns, _cells, screen)
    ratios = cpu_ratios(node, beside)
    return UnicastResult(
        problems=node.problems + beside.problems,
        ratio=statistics.median(ratios),
        ratios=ratios,
        node=node,
        floor=beside,
    )


def _cells(window: Window) -> tuple[str, ...]:
    return (
        f"{window.cpu_us:.2f}",
        f"{window.user_us:.2f}",
        f"{window.system_us:.2f}",
        f"{window.server_busy * 100:.0f} %",
        f"{window.latency_ms.p50:.2f}",
        f"{window.latency_ms.p99:.2f}",
    )

"""``unicast``: many users with one stream each, every event for one of them, beside the floor.

Here nothing is joined and nothing shared: an event costs what it takes to receive, decode and frame
it and to find and write to one stream. The node has a core for itself; Redis, the publisher and
the client share the others. Node and floor take turns on that core (A B A B).
"""

from __future__ import annotations

import contextlib
import statistics
from typing import TYPE_CHECKING

import msgspec

from bench.floor import Floor
from bench.load import Client
from bench.report import Percentiles, Result, table
from bench.servers import SseNode
from bench.steady import Load, Window, cpu_ratios

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.table import Table

    from bench.report import Screen
    from bench.servers import Server

COLUMNS = ("pair", "server", "CPU µs", "user", "kernel", "busy", "p50 ms", "p99 ms")


class Settings(msgspec.Struct, frozen=True):
    """What is measured."""

    users: int
    rate: float
    warmup_s: float
    measured_s: float
    pairs: int
    payload_bytes: int


class Measured(msgspec.Struct):
    """What one server needs."""

    server: str
    cpu_us: float
    """CPU time an event: the median of the windows."""
    latency_ms: Percentiles
    """Over all windows."""
    windows: list[Window]
    problems: list[str]


class UnicastResult(Result):
    """What ``unicast`` found."""

    ratio: float
    """CPU per event, node by floor: the median of the pairs."""
    ratios: list[float]
    node: Measured
    floor: Measured

    def tables(self) -> list[Table]:
        """Node and floor side by side; windows by their median, latency over all of them."""
        both = (self.node, self.floor)

        def row(name: str, unit: str, value: Callable[[Window], float]) -> list[str]:
            medians = [statistics.median(map(value, measured.windows)) for measured in both]
            return [name, *(f"{median:,.2f} {unit}" for median in medians)]

        def latency_row(name: str, value: Callable[[Percentiles], float]) -> list[str]:
            figures = [f"{value(measured.latency_ms):,.2f} ms" for measured in both]
            return [f"latency, {name}", *figures]

        low, high = min(self.ratios), max(self.ratios)
        rows = [
            row("CPU per event", "µs", lambda window: window.cpu_us),
            row("  in user mode", "µs", lambda window: window.user_us),
            row("  in the kernel", "µs", lambda window: window.system_us),
            ["  by the floor's", f"{self.ratio:.2f} (pairs {low:.2f} to {high:.2f})", "1"],
            latency_row("p50", lambda latency: latency.p50),
            latency_row("p90", lambda latency: latency.p90),
            latency_row("p99", lambda latency: latency.p99),
            latency_row("p99.9", lambda latency: latency.p99_9),
            latency_row("highest", lambda latency: latency.highest),
            row("latest event sent late by", "ms", lambda window: window.latest_ms),
            row("its core busy", "%", lambda window: window.server_busy * 100),
            row("client's core busy", "%", lambda window: window.client_busy * 100),
        ]
        return [table("unicast", ("", "node", "floor"), rows)]


@contextlib.contextmanager
def under_load(server: Server, settings: Settings, screen: Screen) -> Iterator[Load]:
    """A server that is up, with a stream open for each user. Raises ProcessError."""
    with server.sender() as sender, Client(server.host, server.port) as client:
        screen.step(f"{server.name}: opening streams")
        client.open_streams(settings.users, server.target("bench-{}"))
        yield Load(
            server.name,
            server.pids,
            client,
            sender,
            rate=settings.rate,
            payload_bytes=settings.payload_bytes,
            users=settings.users,
        )


def measure(server: Server, settings: Settings, screen: Screen) -> Measured:
    """Measure a server that is up, alone. Raises ProcessError."""
    with under_load(server, settings, screen) as load:
        load.warm_up(settings.warmup_s, screen)
        for _ in range(settings.pairs):
            load.measure(settings.measured_s, screen)
    return measured(load)


def measured(load: Load) -> Measured:
    """What the windows of one server come to."""
    return Measured(load.name, load.median_cpu_us(), load.latency_ms(), load.windows, load.problems)


def run(settings: Settings, core: int, screen: Screen) -> UnicastResult:
    """Measure node and floor in turn. Raises ProcessError."""
    with (
        SseNode(core) as server,
        Floor(core) as floor,
        under_load(server, settings, screen) as node_load,
        Client(floor.host, floor.port) as floor_client,
    ):
        floor_client.open_streams(settings.users, server.target("bench-{}"))
        floor_load = Load(
            "floor",
            [floor.pid],
            floor_client,
            floor,
            rate=settings.rate,
            payload_bytes=settings.payload_bytes,
            users=settings.users,
        )
        loads = (node_load, floor_load)
        for load in loads:
            load.warm_up(settings.warmup_s, screen)
        for pair in range(settings.pairs):
            for load in loads:
                _show(pair, load.measure(settings.measured_s, screen), screen)
    return _result(measured(node_load), measured(floor_load))


def _show(pair: int, window: Window, screen: Screen) -> None:
    screen.add_row(
        str(pair + 1),
        window.server,
        f"{window.cpu_us:.2f}",
        f"{window.user_us:.2f}",
        f"{window.system_us:.2f}",
        f"{window.server_busy * 100:.0f} %",
        f"{window.latency_ms.p50:.2f}",
        f"{window.latency_ms.p99:.2f}",
    )


def _result(node: Measured, floor: Measured) -> UnicastResult:
    ratios = cpu_ratios(node.windows, floor.windows)
    return UnicastResult(
        problems=node.problems + floor.problems,
        ratio=statistics.median(ratios),
        ratios=ratios,
        node=node,
        floor=floor,
    )

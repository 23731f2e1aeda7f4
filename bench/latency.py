"""``latency``: a few streams and little load: from PUBLISH to the client, beside a bare subscriber.

The bare subscriber is one connection to a Redis in C that does nothing but note when an event came.
It has the node's core and a Redis and publisher of its own, so that in its windows the node has
nothing to do; the windows take turns (A B A B). What the node adds is the difference.
"""

from __future__ import annotations

import contextlib
import statistics
from typing import TYPE_CHECKING

import msgspec

from bench.load import Client, Publisher, Subscriber
from bench.processes import RedisProcess
from bench.report import Percentiles, Result, table
from bench.servers import SseNode
from bench.steady import Load, Window

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table

    from bench.report import Screen
    from bench.servers import Server

COLUMNS = ("pair", "server", "p50 ms", "p90 ms", "p99 ms", "highest ms", "sent late ms")
BAR_MS = 0.25


class Settings(msgspec.Struct, frozen=True):
    """What is measured."""

    streams: int
    rate: float
    warmup_s: float
    measured_s: float
    pairs: int
    payload_bytes: int


class Measured(msgspec.Struct):
    """The latency of one server."""

    server: str
    latency_ms: Percentiles
    """Over all windows."""
    windows: list[Window]
    problems: list[str]


class LatencyResult(Result):
    """What ``latency`` found; what the node adds is the median over the pairs of windows."""

    added_p50_ms: float
    added_p99_ms: float
    added_p50s_ms: list[float]
    node: Measured
    bare: Measured

    def tables(self) -> list[Table]:
        """Both side by side, and their difference."""
        node, bare = self.node.latency_ms, self.bare.latency_ms

        def row(name: str, node_ms: float, bare_ms: float, added: str, bar: str = "") -> list[str]:
            return [name, f"{node_ms:.3f} ms", f"{bare_ms:.3f} ms", added, bar]

        low, high = min(self.added_p50s_ms), max(self.added_p50s_ms)
        p50 = f"{self.added_p50_ms:.3f} ms (pairs {low:.3f} to {high:.3f})"
        rows = [
            row("p50", node.p50, bare.p50, p50, f"≤ {BAR_MS} ms"),
            row("p90", node.p90, bare.p90, ""),
            row("p99", node.p99, bare.p99, f"{self.added_p99_ms:.3f} ms"),
            row("p99.9", node.p99_9, bare.p99_9, ""),
            row("highest", node.highest, bare.highest, ""),
        ]
        return [table("latency", ("", "node", "bare subscriber", "added", "bar"), rows)]


@contextlib.contextmanager
def under_load(server: Server, settings: Settings, screen: Screen) -> Iterator[Load]:
    """A server that is up, with the streams of one user open. Raises ProcessError."""
    with server.sender() as sender, Client(server.host, server.port) as client:
        screen.step(f"{server.name}: opening streams")
        client.open_streams(settings.streams, server.target("bench"))
        yield Load(
            server.name,
            server.pids,
            client,
            sender,
            rate=settings.rate,
            payload_bytes=settings.payload_bytes,
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
    return Measured(load.name, load.latency_ms(), load.windows, load.problems)


def run(settings: Settings, core: int, screen: Screen) -> LatencyResult:
    """Measure node and bare subscriber in turn. Raises ProcessError."""
    with (
        SseNode(core) as server,
        under_load(server, settings, screen) as node_load,
        RedisProcess() as redis,
        Publisher(redis.url) as publisher,
        Subscriber(redis.url, cpu=core) as subscriber,
    ):
        bare_load = Load(
            "subscriber",
            [subscriber.pid],
            subscriber,
            publisher,
            rate=settings.rate,
            payload_bytes=settings.payload_bytes,
        )
        loads = (node_load, bare_load)
        for load in loads:
            load.warm_up(settings.warmup_s, screen)
        for pair in range(settings.pairs):
            for load in loads:
                _show(pair, load.measure(settings.measured_s, screen), screen)
    return _result(measured(node_load), measured(bare_load))


def _show(pair: int, window: Window, screen: Screen) -> None:
    latency = window.latency_ms
    figures = (latency.p50, latency.p90, latency.p99, latency.highest, window.latest_ms)
    screen.add_row(str(pair + 1), window.server, *(f"{figure:.3f}" for figure in figures))


def _result(node: Measured, bare: Measured) -> LatencyResult:
    pairs = list(zip(node.windows, bare.windows, strict=True))
    p50s = [ours.latency_ms.p50 - floor.latency_ms.p50 for ours, floor in pairs]
    p99s = [ours.latency_ms.p99 - floor.latency_ms.p99 for ours, floor in pairs]
    return LatencyResult(
        problems=node.problems + bare.problems,
        added_p50_ms=statistics.median(p50s),
        added_p99_ms=statistics.median(p99s),
        added_p50s_ms=p50s,
        node=node,
        bare=bare,
    )

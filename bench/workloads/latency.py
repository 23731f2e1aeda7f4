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

from bench.harness import RedisProcess
from bench.harness.servers import SseNode
from bench.measure.load import Publisher, Subscriber
from bench.measure.steady import Load, Measured, Turns, Window, take_turns, under_load
from bench.report.tables import Result, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table

    from bench.report.tables import Screen

COLUMNS = ("pair", "server", "p50 ms", "p90 ms", "p99 ms", "highest ms", "sent late ms")
BAR_MS = 0.25


class Settings(msgspec.Struct, frozen=True):
    """What is measured."""

    streams: int
    payload_bytes: int
    turns: Turns


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
def bare_subscriber(core: int, payload_bytes: int) -> Iterator[Load]:
    """A bare subscriber, on this core, of a Redis of its own. Raises ProcessError."""
    with (
        RedisProcess() as redis,
        Publisher(redis.url) as publisher,
        Subscriber(redis.url, cpu=core) as subscriber,
    ):
        yield Load(
            "bare subscriber", [subscriber.pid], subscriber, publisher, payload_bytes=payload_bytes
        )


def run(settings: Settings, core: int, screen: Screen) -> LatencyResult:
    """Measure node and bare subscriber in turn. Raises ProcessError."""
    payload_bytes = settings.payload_bytes
    with (
        SseNode(core) as server,
        under_load(
            server, streams=settings.streams, payload_bytes=payload_bytes, screen=screen
        ) as node_load,
        bare_subscriber(core, payload_bytes) as bare_load,
    ):
        node, bare = take_turns((node_load, bare_load), settings.turns, _cells, screen)
    pairs = list(zip(node.windows, bare.windows, strict=True))
    p50s = [ours.latency_ms.p50 - theirs.latency_ms.p50 for ours, theirs in pairs]
    p99s = [ours.latency_ms.p99 - theirs.latency_ms.p99 for ours, theirs in pairs]
    return LatencyResult(
        problems=node.problems + bare.problems,
        added_p50_ms=statistics.median(p50s),
        added_p99_ms=statistics.median(p99s),
        added_p50s_ms=p50s,
        node=node,
        bare=bare,
    )


def _cells(window: Window) -> list[str]:
    latency = window.latency_ms
    figures = (latency.p50, latency.p90, latency.p99, latency.highest, window.latest_ms)
    return [f"{figure:.3f}" for figure in figures]

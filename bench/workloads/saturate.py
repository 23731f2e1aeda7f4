"""``saturate``: one user with many streams, events published as fast as they go.

The node has a core for itself; Redis, the publisher and the client share the others. A round ends
when every stream has read its last event; its rate is all deliveries by the time from the first
PUBLISH to the last byte read. A round counts only if no stream missed one event or was cut off.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

import msgspec

from bench.harness.servers import ROOM, SseNode
from bench.measure.steady import Window, under_load, window
from bench.report.tables import Result, table

if TYPE_CHECKING:
    from rich.table import Table

    from bench.report.tables import Screen

COLUMNS = ("round", "per second", "CPU µs", "node busy", "client busy")


class Settings(msgspec.Struct, frozen=True):
    """What is measured."""

    streams: int
    events: int
    rounds: int
    payload_bytes: int


class SaturateResult(Result):
    """What ``saturate`` found."""

    median_per_s: float
    lowest_per_s: float
    highest_per_s: float
    rounds: list[Window]

    def tables(self) -> list[Table]:
        """The result for people."""
        rows = [
            ("deliveries per second, median of the rounds", f"{self.median_per_s:,.0f}"),
            ("lowest", f"{self.lowest_per_s:,.0f}"),
            ("highest", f"{self.highest_per_s:,.0f}"),
        ]
        return [table("saturate", ("", "node"), rows)]


def run(settings: Settings, core: int, screen: Screen) -> SaturateResult:
    """Measure. Raises ProcessError."""
    rounds: list[Window] = []
    problems: list[str] = []
    with (
        SseNode(core, *ROOM) as node,
        under_load(
            node, streams=settings.streams, payload_bytes=settings.payload_bytes, screen=screen
        ) as load,
    ):
        for number in range(settings.rounds + 1):
            sending = load.send(settings.events, 0, screen)
            problems += sending.problems
            rounds.append(window(sending))
            screen.add_row(f"round {number}" if number else "warm-up", *_cells(rounds[-1]))
    del rounds[0]  # the warm-up
    rates = [measured.deliveries_per_s for measured in rounds]
    return SaturateResult(
        median_per_s=statistics.median(rates),
        lowest_per_s=min(rates),
        highest_per_s=max(rates),
        rounds=rounds,
        problems=problems,
    )


def _cells(measured: Window) -> tuple[str, ...]:
    return (
        f"{measured.deliveries_per_s:,.0f}",
        f"{measured.cpu_us:.2f}",
        f"{measured.server_busy * 100:.0f} %",
        f"{measured.client_busy * 100:.0f} %",
    )

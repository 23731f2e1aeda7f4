"""``open``: how fast streams are opened, a user each.

Every round has a server of its own, as every stream leaves something behind in the allocator. The
server has a core for itself; the client, whose CPU is shown, has the others.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

import msgspec

from bench.harness.servers import SseNode
from bench.measure import procfs as proc
from bench.measure.load import Client
from bench.report.tables import Result, table

if TYPE_CHECKING:
    from rich.table import Table

    from bench.harness.servers import Server
    from bench.report.tables import Screen

COLUMNS = ("round", "per second", "CPU µs a stream", "server busy", "client busy", "refused")
BAR_PER_S = 5_000


class Settings(msgspec.Struct, frozen=True):
    """What is measured."""

    streams: int
    at_once: int
    """Requests that wait for an answer at a time."""
    rounds: int


class Measured(msgspec.Struct):
    """One round on one server."""

    server: str
    streams: int
    seconds: float
    cpu_us: float
    """CPU time of the server a stream."""
    server_busy: float
    """Share of one core."""
    client_busy: float
    refused: int
    """Answers after which a stream was asked for again."""

    @property
    def per_s(self) -> float:
        """Streams opened a second."""
        return self.streams / self.seconds


class OpenResult(Result):
    """What ``open`` found."""

    median_per_s: float
    lowest_per_s: float
    highest_per_s: float
    rounds: list[Measured]

    def tables(self) -> list[Table]:
        """The result for people."""
        cpu_us = statistics.median(measured.cpu_us for measured in self.rounds)
        client_busy = statistics.median(measured.client_busy for measured in self.rounds)
        rows = [
            ("streams opened per second, median", f"{self.median_per_s:,.0f}", f"≥ {BAR_PER_S:,}"),
            ("lowest", f"{self.lowest_per_s:,.0f}", ""),
            ("highest", f"{self.highest_per_s:,.0f}", ""),
            ("CPU per stream opened", f"{cpu_us:,.0f} µs", ""),
            ("client's core busy", f"{client_busy * 100:.0f} %", ""),
        ]
        return [table("open", ("", "node", "bar"), rows)]


def measure(server: Server, streams: int, at_once: int, screen: Screen) -> Measured:
    """Open streams to a server that is up. Raises ProcessError."""
    screen.step(f"{server.name}: opening {streams} streams")
    with Client(server.host, server.port) as client:
        before = proc.cpu_time(*server.pids)
        opened = client.open_streams(streams, server.target("bench-{}"), at_once=at_once)
        cpu = proc.cpu_time(*server.pids) - before
    return Measured(
        server=server.name,
        streams=opened.opened,
        seconds=opened.seconds,
        cpu_us=cpu.total_s / opened.opened * 1e6,
        server_busy=cpu.total_s / opened.seconds,
        client_busy=opened.cpu_s / opened.seconds,
        refused=opened.refused,
    )


def run(settings: Settings, core: int, screen: Screen) -> OpenResult:
    """Measure. Raises ProcessError."""
    rounds = []
    for number in range(settings.rounds):
        with SseNode(core) as server:
            rounds.append(measure(server, settings.streams, settings.at_once, screen))
        screen.add_row(str(number + 1), *_cells(rounds[-1]))
    rates = [measured.per_s for measured in rounds]
    return OpenResult(
        problems=[],
        median_per_s=statistics.median(rates),
        lowest_per_s=min(rates),
        highest_per_s=max(rates),
        rounds=rounds,
    )


def _cells(measured: Measured) -> tuple[str, ...]:
    return (
        f"{measured.per_s:,.0f}",
        f"{measured.cpu_us:.0f}",
        f"{measured.server_busy * 100:.0f} %",
        f"{measured.client_busy * 100:.0f} %",
        str(measured.refused),
    )

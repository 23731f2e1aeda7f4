"""``saturate``: one user with many streams, events published as fast as they go.

The node has a core for itself; Redis, the publisher and the client share the others. A round ends
when every stream has read its last event; its rate is all deliveries by the time from the first
PUBLISH to the last byte read. A round counts only if no stream missed one event or was cut off.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

import msgspec

from bench import proc
from bench.load import FIRST_NUMBER, Client, Publisher, Schedule
from bench.processes import NodeProcess, RedisProcess
from bench.report import Result, table

if TYPE_CHECKING:
    from rich.table import Table

    from bench.report import Screen

# The node is faster than the client: what waits in it is bounded by the events of a round alone, or
# it would end the slowest streams (its default is 256 MiB for all).
_WAITING_BYTES = 2**31

COLUMNS = ("round", "per second", "seconds", "CPU µs", "node busy", "client busy", "in order")


class Settings(msgspec.Struct, frozen=True):
    """What is measured."""

    streams: int
    events: int
    rounds: int
    payload_bytes: int


class Round(msgspec.Struct):
    """One round."""

    deliveries: int
    seconds: float
    """From the first PUBLISH to the last byte read."""
    publish_s: float
    """From the first PUBLISH to the last one written to Redis."""
    bytes: int
    cpu_us: float
    """CPU time of the node a delivery."""
    node_busy: float
    client_busy: float
    lossless: bool

    @property
    def deliveries_per_s(self) -> float:
        """How fast it was."""
        return self.deliveries / self.seconds


class SaturateResult(Result):
    """What ``saturate`` found."""

    median_per_s: float
    lowest_per_s: float
    highest_per_s: float
    rounds: list[Round]

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
    with (
        RedisProcess() as redis,
        NodeProcess(
            "--redis-url", redis.url, "--write-limit-total", str(_WAITING_BYTES), cpu=core
        ) as node,
        Publisher(redis.url) as publisher,
        Client(node.host, node.port) as client,
    ):
        node.wait_ready()
        screen.step("opening streams")
        client.open_streams(settings.streams, "/events/sse/bench")
        rounds = []
        for number in range(settings.rounds + 1):
            first = FIRST_NUMBER + number * settings.events
            schedule = Schedule(first, settings.events, 0, settings.payload_bytes)
            name = f"round {number}" if number else "warm-up"
            screen.step(name, total=settings.streams * settings.events)
            rounds.append(_round(node, publisher, client, schedule, screen))
            screen.add_row(name, *_cells(rounds[-1]))
    return _result(rounds)


def _round(
    node: NodeProcess, publisher: Publisher, client: Client, schedule: Schedule, screen: Screen
) -> Round:
    before = proc.cpu_time(node.pid)
    sent, received = client.measure(
        publisher, schedule, lambda now: screen.advance_to(now.deliveries)
    )
    cpu = proc.cpu_time(node.pid) - before
    seconds = max(1, received.last_ns - sent.first_ns) / 1e9
    return Round(
        deliveries=received.deliveries,
        seconds=seconds,
        publish_s=(sent.last_ns - sent.first_ns) / 1e9,
        bytes=received.bytes,
        cpu_us=cpu.total_s / max(1, received.deliveries) * 1e6,
        node_busy=cpu.total_s / seconds,
        client_busy=received.cpu_s / seconds,
        lossless=received.lossless(schedule),
    )


def _cells(measured: Round) -> tuple[str, ...]:
    return (
        f"{measured.deliveries_per_s:,.0f}",
        f"{measured.seconds:.2f}",
        f"{measured.cpu_us:.2f}",
        f"{measured.node_busy * 100:.0f} %",
        f"{measured.client_busy * 100:.0f} %",
        "yes" if measured.lossless else "NO",
    )


def _result(rounds: list[Round]) -> SaturateResult:
    counted = rounds[1:]  # the first one is the warm-up
    rates = [measured.deliveries_per_s for measured in counted]
    lossy = sum(not measured.lossless for measured in rounds)
    return SaturateResult(
        median_per_s=statistics.median(rates),
        lowest_per_s=min(rates),
        highest_per_s=max(rates),
        rounds=counted,
        problems=[f"in {lossy} rounds a stream missed events or was ended"] if lossy else [],
    )

"""`workers`: one worker and several under the same load, in turn: what a delivery costs whom.

One user with many streams and events at a steady rate, as in `fanout`. With few cores the client
and Redis need what a further worker could have, so what several could deliver is told on paper:
when the busiest of them is busy all the time, and a delivery costs what it cost.
"""

import contextlib
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Annotated

import msgspec

from bench.harness.fleet import Fleet
from bench.measure import procfs as proc
from bench.measure.load import Client
from bench.measure.steady import Load, Window
from bench.options import Pairs, Payload, Seconds, Warmup
from bench.report.tables import Result, Screen, TextTable, table

COLUMNS = ("pair", "workers", "CPU µs", "per CPU second", "CPU by worker", "client busy", "p99 ms")
BAR_FACTOR = 1.7


class Settings(msgspec.Struct, frozen=True):
    """What is measured."""

    workers: Annotated[int, msgspec.Meta(ge=2, le=64, description="Workers beside one.")] = 2
    streams: Annotated[
        int, msgspec.Meta(ge=1, le=15000, description="Open streams of one user.")
    ] = 1_000
    payload_bytes: Payload = 200
    rate: Annotated[float, msgspec.Meta(ge=0.1, le=10000, description="Events a second.")] = 50.0
    warmup_s: Warmup = 2.0
    measured_s: Seconds = 5.0
    pairs: Pairs = 5


class Measured(msgspec.Struct):
    """One window of so many workers."""

    workers: int
    cpu_us: float
    """CPU time of all workers a delivery."""
    cpu_shares: list[float]
    """Of each worker in it; together 1."""
    window: Window

    @property
    def per_cpu_s(self) -> float:
        """Deliveries by a second of the workers' CPU."""
        return 1e6 / self.cpu_us

    @property
    def capacity_per_s(self) -> float:
        """Deliveries a second when the busiest worker is busy all the time, on paper."""
        return self.per_cpu_s / max(self.cpu_shares)


class WorkersResult(Result):
    """What `workers` found."""

    factor: float
    """What several could deliver by what one could, on paper: the median of the pairs."""
    factors: list[float]
    streams_by_worker: list[int]
    one: list[Measured]
    several: list[Measured]

    def tables(self) -> list[TextTable]:
        """Both side by side, medians of the windows."""
        low, high = min(self.factors), max(self.factors)
        both = (self.one, self.several)
        busiest = [median(max(m.cpu_shares) for m in windows) for windows in both]
        rows = [
            ["CPU per delivery", *(f"{median(m.cpu_us for m in w):.2f} µs" for w in both), ""],
            [
                "deliveries per CPU second",
                *(f"{median(m.per_cpu_s for m in w):,.0f}" for w in both),
                "",
            ],
            ["the busiest worker's share", *(f"{share * 100:.0f} %" for share in busiest), ""],
            ["streams by worker", "", ", ".join(map(str, self.streams_by_worker)), ""],
            [
                "on paper, deliveries per second",
                *(f"{median(m.capacity_per_s for m in w):,.0f}" for w in both),
                "",
            ],
            [
                "  by one worker's",
                "1",
                f"{self.factor:.2f} (pairs {low:.2f} to {high:.2f})",
                f"≥ {BAR_FACTOR}",
            ],
            [
                "client's CPU, of a core",
                *(f"{median(m.window.client_busy for m in w) * 100:.0f} %" for w in both),
                "",
            ],
            [
                "latency, p99",
                *(f"{median(m.window.latency_ms.p99 for m in w):.2f} ms" for w in both),
                "",
            ],
        ]
        columns = ("", "1 worker", f"{self.several[0].workers} workers", "bar")
        return [table("workers", columns, rows)]


@contextlib.contextmanager
def workers_under_load(
    fleet: Fleet, settings: Settings, screen: Screen
) -> Iterator[tuple[Load, list[int]]]:
    """Workers that are up, their streams open, and how many each has. Raises ProcessError."""
    with fleet.sender() as publisher, Client(*fleet.addresses[0]) as client:
        screen.step(f"{fleet.count} workers: opening streams")
        client.open_streams(settings.streams, fleet.target("bench"))
        load = Load(
            f"{fleet.count} workers",
            fleet.pids,
            client,
            publisher,
            payload_bytes=settings.payload_bytes,
            streams=settings.streams,
        )
        load.send(settings.warmup_s * settings.rate, settings.rate, screen)
        yield load, fleet.streams_by_worker()


def measure(fleet: Fleet, load: Load, settings: Settings, screen: Screen) -> Measured:
    """Measure one window. Raises ProcessError."""
    before = [proc.cpu_time(pid).total_s for pid in fleet.worker_pids]
    window = load.measure(settings.measured_s, settings.rate, screen)
    after = [proc.cpu_time(pid).total_s for pid in fleet.worker_pids]
    return measured(window, [now - then for now, then in zip(after, before, strict=True)])


def measured(window: Window, cpu_s: Sequence[float]) -> Measured:
    """What one window cost each worker; no less than a tick of the kernel for all of them."""
    total_s = sum(cpu_s)
    return Measured(
        workers=len(cpu_s),
        cpu_us=max(total_s, proc.TICK_S) / max(1, window.deliveries) * 1e6,
        cpu_shares=[one / total_s if total_s else 1 / len(cpu_s) for one in cpu_s],
        window=window,
    )


def run(settings: Settings, screen: Screen) -> WorkersResult:
    """Measure. Raises ProcessError."""
    with (
        Fleet(1, as_workers=True) as one_fleet,
        Fleet(settings.workers, as_workers=True) as several_fleet,
        workers_under_load(one_fleet, settings, screen) as (one_load, _),
        workers_under_load(several_fleet, settings, screen) as (several_load, streams_by_worker),
    ):
        one: list[Measured] = []
        several: list[Measured] = []
        for pair in range(settings.pairs):
            one.append(measure(one_fleet, one_load, settings, screen))
            screen.add_row(str(pair + 1), *_cells(one[-1]))
            several.append(measure(several_fleet, several_load, settings, screen))
            screen.add_row(str(pair + 1), *_cells(several[-1]))
    factors = [
        more.capacity_per_s / less.capacity_per_s for less, more in zip(one, several, strict=True)
    ]
    return WorkersResult(
        problems=one_load.measured().problems + several_load.measured().problems,
        factor=median(factors),
        factors=factors,
        streams_by_worker=streams_by_worker,
        one=one,
        several=several,
    )


def _cells(measured: Measured) -> tuple[str, ...]:
    return (
        str(measured.workers),
        f"{measured.cpu_us:.2f}",
        f"{measured.per_cpu_s:,.0f}",
        ", ".join(f"{share * 100:.0f} %" for share in measured.cpu_shares),
        f"{measured.window.client_busy * 100:.0f} %",
        f"{measured.window.latency_ms.p99:.2f}",
    )

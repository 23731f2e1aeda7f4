"""`workers`: one worker and several under the same load, in turn: CPU per delivery of each.

One user has many streams and events come at a steady rate, as in `fanout`. With few cores the
client and Redis need what a further worker could use. So the capacity of several workers is
calculated, not measured: the busiest worker is busy all the time, at the measured CPU per delivery.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Annotated

import msgspec

from bench.harness.fleet import Fleet
from bench.measure import procfs as proc
from bench.measure.sample import Figure, Sample, cells, medians_of, spread_of
from bench.measure.steady import Load, Sending, under_load
from bench.options import Pairs, Payload, Rate, Seconds, Streams, Warmup
from bench.report.tables import Measurements, Screen, measurements, table

_CPU, _PER_CPU_S, _BUSIEST, _CAPACITY, _CLIENT, _P99 = (
    Figure("cpu_us", "CPU per delivery", "µs", 2),
    Figure("per_cpu_s", "deliveries per CPU second"),
    Figure("busiest_share", "the busiest worker's share", "%"),
    Figure("capacity_per_s", "on paper, deliveries per second"),
    Figure("client_busy", "client's CPU, of a core", "%"),
    Figure("p99_ms", "latency, p99", "ms", 2),
)
COLUMNS = ("pair", "workers", "CPU", "per CPU second", "CPU by worker", "client busy", "p99")
BAR_FACTOR = 1.7


class Settings(msgspec.Struct, frozen=True):
    """What is measured."""

    workers: Annotated[int, msgspec.Meta(ge=2, le=64, description="Workers beside one.")] = 2
    streams: Streams = 1_000
    payload_bytes: Payload = 200
    rate: Rate = 50.0
    warmup_s: Warmup = 2.0
    measured_s: Seconds = 5.0
    pairs: Pairs = 5


class Workers(msgspec.Struct):
    """One node under load, and the samples of its workers."""

    fleet: Fleet
    load: Load
    streams_by_worker: list[int]
    samples: list[Sample] = []

    def measure(self, settings: Settings, screen: Screen) -> tuple[str, ...]:
        """Measure one window; return its cells for the live table. Raises ProcessError."""
        pids = self.fleet.worker_pids
        before = [proc.cpu_time(pid).total_s for pid in pids]
        sending = self.load.send(settings.measured_s * settings.rate, settings.rate, screen)
        after = [proc.cpu_time(pid).total_s for pid in pids]
        cpu_s = [now - then for now, then in zip(after, before, strict=True)]
        self.samples.append(sample_of(sending, cpu_s))
        cpu, per_cpu_s, busy, p99 = cells(
            (_CPU, _PER_CPU_S, _CLIENT, _P99), self.samples[-1].values
        )
        shares = ", ".join(f"{share * 100:.0f} %" for share in shares_of(cpu_s))
        return str(self.fleet.count), cpu, per_cpu_s, shares, busy, p99


@contextlib.contextmanager
def workers_under_load(count: int, settings: Settings, screen: Screen) -> Iterator[Workers]:
    """Start a node of this many workers, open its streams and warm it up. Raises ProcessError."""
    streams, payload_bytes = settings.streams, settings.payload_bytes
    with (
        Fleet(count, as_workers=True) as fleet,
        under_load(fleet, streams=streams, payload_bytes=payload_bytes, screen=screen) as load,
    ):
        load.send(settings.warmup_s * settings.rate, settings.rate, screen)
        yield Workers(fleet, load, fleet.streams_by_worker())


def sample_of(sending: Sending, cpu_s: Sequence[float]) -> Sample:
    """Return the figures of one window; all workers used at least one tick of the kernel."""
    cpu_us = max(sum(cpu_s), proc.TICK_S) / max(1, sending.received.deliveries) * 1e6
    shares = shares_of(cpu_s)
    own = {
        "cpu_us": cpu_us,
        "per_cpu_s": 1e6 / cpu_us,
        "busiest_share": max(shares) * 100,
        "capacity_per_s": 1e6 / cpu_us / max(shares),
        **{f"share_of_worker_{number}": share for number, share in enumerate(shares)},
    }
    return Sample(sending.values() | own, notes=sending.problems)


def shares_of(cpu_s: Sequence[float]) -> list[float]:
    """Return each worker's share of the CPU time; workers that used none count as even."""
    total_s = sum(cpu_s)
    return [one / total_s if total_s else 1 / len(cpu_s) for one in cpu_s]


def run(settings: Settings, screen: Screen) -> Measurements:
    """Measure. Raises ProcessError."""
    with (
        workers_under_load(1, settings, screen) as one,
        workers_under_load(settings.workers, settings, screen) as several,
    ):
        for pair in range(settings.pairs):
            for workers in (one, several):
                screen.add_row(str(pair + 1), *workers.measure(settings, screen))
    columns = ("", "1 worker", f"{settings.workers} workers", "bar")
    return measurements(
        {"1 worker": one.samples, f"{settings.workers} workers": several.samples},
        table("workers", columns, _lines(one, several)),
    )


def _lines(one: Workers, several: Workers) -> list[tuple[str, ...]]:
    medians = [medians_of(workers.samples) for workers in (one, several)]
    pairs = zip(one.samples, several.samples, strict=True)
    key = _CAPACITY.key
    factor = spread_of(more.values[key] / less.values[key] for less, more in pairs)
    assert factor is not None
    factor_text = Figure("", "", digits=2).spread_text(factor)

    def line(figure: Figure) -> tuple[str, ...]:
        return (figure.title, *(figure.text(values[figure.key]) for values in medians), "")

    return [
        *map(line, (_CPU, _PER_CPU_S, _BUSIEST)),
        ("streams by worker", "", ", ".join(map(str, several.streams_by_worker)), ""),
        line(_CAPACITY),
        ("  divided by one worker's", "1", factor_text, f"≥ {BAR_FACTOR}"),
        *map(line, (_CLIENT, _P99)),
    ]

"""Numbers to Prometheus text: families in, exposition out; nothing is counted here.

The per-event path counts in plain integers. They become metrics when somebody asks, by the
library's collector interface, so that counting costs an addition.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST.encode()

# Upper bounds in seconds: half a millisecond, as the log's ids are to the millisecond, to ten.
LATENCY_BOUNDS_S: Final = (
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
)  # fmt: skip


class Histogram:
    """Counts of observed seconds, by bucket."""

    def __init__(self) -> None:
        self._counts = [0] * (len(LATENCY_BOUNDS_S) + 1)
        self._sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one observation, in seconds."""
        self._counts[bisect_left(LATENCY_BOUNDS_S, seconds)] += 1
        self._sum_s += seconds

    def family(self, name: str, documentation: str) -> HistogramMetricFamily:
        """Return the metric family of this histogram."""
        buckets: list[tuple[str, float]] = []
        total = 0
        bounds = [*map(str, LATENCY_BOUNDS_S), "+Inf"]
        for bound, observed in zip(bounds, self._counts, strict=True):
            total += observed
            buckets.append((bound, total))
        return HistogramMetricFamily(name, documentation, buckets=buckets, sum_value=self._sum_s)


class _Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families

    def describe(self) -> Iterable[Metric]:
        return ()


def expose(families: Iterable[Metric]) -> bytes:
    """Return families in the text format of Prometheus."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(families))
    return generate_latest(registry)


class PackedFamily(msgspec.Struct, array_like=True):
    """A metric family on its way from one process to another."""

    name: str
    documentation: str
    kind: str
    samples: list[tuple[str, dict[str, str], float]]


def pack(families: Iterable[Metric]) -> list[PackedFamily]:
    """Return families for another process."""
    return [
        PackedFamily(
            family.name,
            family.documentation,
            family.type,
            [(sample.name, sample.labels, sample.value) for sample in family.samples],
        )
        for family in families
    ]


def unpack(packed: Mapping[str, Iterable[PackedFamily]]) -> list[Metric]:
    """Return the families of several processes put together.

    A counter begins anew with its process, so sums over processes would fall when one ends, and
    Prometheus would take the fall for a restart of all of them: samples stay apart by `pid`.

    Args:
        packed: by process id.
    """
    families: dict[str, Metric] = {}
    for pid, packed_families in packed.items():
        for each in packed_families:
            family = families.setdefault(
                each.name, Metric(each.name, each.documentation, each.kind)
            )
            for name, labels, value in each.samples:
                family.add_sample(name, {**labels, "pid": pid}, value)
    return list(families.values())

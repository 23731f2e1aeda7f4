"""Numbers to Prometheus text: families in, exposition out; nothing is counted here.

The per-event path counts in plain integers. They become metrics when somebody asks, by the
library's collector interface, so that counting costs an addition.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Final

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST.encode()


def histogram_family(
    name: str,
    documentation: str,
    bounds: Sequence[float],
    counts: Sequence[int],
    total: float,
) -> HistogramMetricFamily:
    """Return the metric family of a histogram.

    Args:
        name: without a suffix.
        documentation: one sentence.
        bounds: the upper bounds of the buckets, rising.
        counts: observations in each bucket, one more than there are bounds.
        total: the sum of all observations.
    """
    labels = [*map(str, bounds), "+Inf"]
    buckets = list(zip(labels, accumulate(map(float, counts)), strict=True))
    return HistogramMetricFamily(name, documentation, buckets=buckets, sum_value=total)


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
            [(sample.name, sample.labels, float(sample.value)) for sample in family.samples],
        )
        for family in families
    ]


def unpack(packed: Mapping[str, Iterable[PackedFamily]]) -> list[Metric]:
    """Return the families of several processes put together.

    A counter starts again with its process. A sum over processes would fall when one ends, and
    Prometheus would take that for a restart of all: samples are labelled with their `worker`.

    Args:
        packed: by worker.
    """
    families: dict[str, Metric] = {}
    for worker, packed_families in packed.items():
        for each in packed_families:
            family = families.setdefault(
                each.name, Metric(each.name, each.documentation, each.kind)
            )
            for name, labels, value in each.samples:
                family.add_sample(name, {**labels, "worker": worker}, value)
    return list(families.values())

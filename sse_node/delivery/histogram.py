"""Counts of observed durations by bucket; they become a metric family when somebody asks."""

from bisect import bisect_left
from typing import Final

# Upper bounds in seconds: from half a millisecond, as ids are exact to the millisecond, to ten.
LATENCY_BOUNDS_S: Final = (
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
)  # fmt: skip


class Histogram:
    """Observed seconds in the buckets of `LATENCY_BOUNDS_S`; lives as long as the node.

    Attributes:
        counts: for each bound the observations up to it and over the bound before it, then those
            over the last bound.
        sum_s: of all observations.
    """

    def __init__(self) -> None:
        self.counts = [0] * (len(LATENCY_BOUNDS_S) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one observation, in seconds."""
        self.counts[bisect_left(LATENCY_BOUNDS_S, seconds)] += 1
        self.sum_s += seconds

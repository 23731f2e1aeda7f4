"""A sample: the figures of one measurement."""

import statistics
from collections.abc import Iterable, Mapping, Sequence

import msgspec


class Figure(msgspec.Struct, frozen=True):
    """How one value of a sample is shown."""

    key: str
    title: str
    unit: str = ""
    digits: int = 0

    def text(self, value: float) -> str:
        """Return the value with its unit."""
        return f"{self.bare_text(value)}{' ' if self.unit else ''}{self.unit}"

    def bare_text(self, value: float) -> str:
        """Return the value without its unit."""
        return f"{value:,.{self.digits}f}"

    def spread_text(self, spread: "Spread") -> str:
        """Return the median with its unit, and the range if there is one."""
        low, high = self.bare_text(spread.lowest), self.bare_text(spread.highest)
        return self.text(spread.median) + ("" if low == high else f" ({low} to {high})")


class Sample(msgspec.Struct):
    """One measurement of one server."""

    values: dict[str, float]
    """By the keys of figures. A value that could not be measured is missing."""
    latency_ns: list[tuple[int, int]] = []
    """Latency histogram: (value, count)."""
    memory: list[tuple[int, int]] = []
    """Process memory by number of idle streams: (streams, bytes)."""
    notes: list[str] = []
    """Lost or late events, and loads that were not offered."""


class Spread(msgspec.Struct, frozen=True):
    """A figure over the rounds."""

    lowest: float
    median: float
    highest: float


def spread_of(values: Iterable[float]) -> Spread | None:
    """Return the spread of values; None when there are no values."""
    found = sorted(values)
    return Spread(found[0], statistics.median(found), found[-1]) if found else None


def spreads_of(samples: Sequence[Sample]) -> dict[str, Spread]:
    """Return the spread of every value that at least one of the samples has."""
    keys = dict.fromkeys(key for sample in samples for key in sample.values)
    spreads = {key: spread_of(s.values[key] for s in samples if key in s.values) for key in keys}
    return {key: spread for key, spread in spreads.items() if spread}


def medians_of(samples: Sequence[Sample]) -> dict[str, float]:
    """Return the median of every value that at least one of the samples has."""
    return {key: spread.median for key, spread in spreads_of(samples).items()}


def cells(figures: Iterable[Figure], values: Mapping[str, float]) -> list[str]:
    """Return one table cell for each figure; empty for a missing value."""
    return [figure.text(values[figure.key]) if figure.key in values else "" for figure in figures]

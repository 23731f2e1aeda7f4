"""Observed seconds fall into the bucket of the lowest bound that is not below them."""

import pytest

from sse_node.delivery.histogram import LATENCY_BOUNDS_S, Histogram


def test_a_new_histogram_is_empty() -> None:
    histogram = Histogram()
    assert histogram.counts == [0] * (len(LATENCY_BOUNDS_S) + 1)
    assert histogram.sum_s == 0.0


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [
        pytest.param(0.0, 0, id="nothing"),
        pytest.param(0.0005, 0, id="the first bound"),
        pytest.param(0.00051, 1, id="over the first bound"),
        pytest.param(10.0, len(LATENCY_BOUNDS_S) - 1, id="the last bound"),
        pytest.param(10.1, len(LATENCY_BOUNDS_S), id="over the last bound"),
    ],
)
def test_a_bound_belongs_to_its_bucket(seconds: float, bucket: int) -> None:
    histogram = Histogram()
    histogram.observe(seconds)
    assert histogram.counts.index(1) == bucket
    assert histogram.sum_s == seconds


def test_observations_add_up() -> None:
    histogram = Histogram()
    for seconds in (0.25, 0.25, 100.0):
        histogram.observe(seconds)
    assert sum(histogram.counts) == 3
    assert histogram.counts[-1] == 1
    assert histogram.sum_s == 100.5


def test_bounds_rise() -> None:
    assert list(LATENCY_BOUNDS_S) == sorted(set(LATENCY_BOUNDS_S))

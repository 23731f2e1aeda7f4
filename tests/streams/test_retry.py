"""Reconnection times are spread by a quarter around their mean."""

import re

from sse_node.streams.retry import RetryTime


def test_times_are_spread_by_a_quarter() -> None:
    times_ms = [RetryTime(4000).jittered_ms() for _ in range(2000)]
    assert min(times_ms) >= 3000
    assert max(times_ms) <= 5000
    assert len(set(times_ms)) > 100


def test_a_field_stands_alone() -> None:
    assert re.fullmatch(rb"retry: (3\d{3}|4\d{3}|5000)\n\n", RetryTime(4000).encode())

"""Token buckets: what is taken at once, what comes back with time, and which ones are forgotten."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sse_node.access.rate_table import Level, RateTable, whole_seconds

RATE, WINDOW_S = 5, 2  # a bucket of 10


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def table(clock: Clock) -> RateTable:
    return RateTable(RATE, WINDOW_S, clock)


def taken(table: RateTable, key: str, tries: int = 100) -> int:
    """Return how many of so many single tokens are had at once."""
    return sum(table.take(key).wait_s == 0 for _ in range(tries))


def rounded(level: Level) -> tuple[int, float, float]:
    return level.remaining, round(level.wait_s, 6), round(level.full_in_s, 6)


def test_a_new_key_has_a_full_bucket_of_its_own(table: RateTable) -> None:
    assert taken(table, "a") == 10
    assert taken(table, "b") == 10


def test_tokens_come_back_at_the_rate_up_to_a_full_bucket(table: RateTable, clock: Clock) -> None:
    taken(table, "a")
    clock.now += 0.6
    assert taken(table, "a") == 3
    clock.now += 1000
    assert taken(table, "a") == 10


def test_levels_say_what_is_left_and_when_there_is_more(table: RateTable, clock: Clock) -> None:
    assert rounded(table.take("a", 4)) == (6, 0, 0.8)
    assert rounded(table.take("a", 6)) == (0, 0, 2.0)
    assert rounded(table.take("a", 1)) == (0, 0.2, 2.0)
    assert rounded(table.take("a", 6)) == (0, 1.2, 2.0)
    clock.now += 1.2
    assert rounded(table.take("a", 6)) == (0, 0, 2.0)


def test_more_than_a_bucket_holds_needs_a_full_one_and_is_made_up_for(
    table: RateTable, clock: Clock
) -> None:
    table.take("a", 1)
    assert table.take("a", 100).wait_s == pytest.approx(0.2)
    clock.now += 0.2
    assert rounded(table.take("a", 100)) == (0, 0, 20.0)
    assert table.take("a").wait_s == pytest.approx(18.2)
    clock.now += 18.2
    assert taken(table, "a") == 1


@given(
    st.lists(st.tuples(st.floats(0, 3), st.integers(1, 25)), max_size=50),
    st.integers(1, 100),
    st.integers(1, 20),
)
def test_no_schedule_takes_more_than_the_rate_allows(
    asks: list[tuple[float, int]], rate: int, window_s: int
) -> None:
    clock = Clock()
    table = RateTable(rate, window_s, clock)
    start, total, last_tokens, waited = clock.now, 0, 0, inf
    for pause_s, tokens in asks:
        clock.now += pause_s
        level = table.take("a", tokens)
        assert level.remaining >= 0
        if level.wait_s == 0:
            total, last_tokens = total + tokens, tokens
            assert total <= rate * (clock.now - start + window_s) + last_tokens + 1e-3
        else:
            waited = level.wait_s
            clock.now += waited
            assert table.take("a", tokens).wait_s == 0, "it is worth waiting for"
            total, last_tokens = total + tokens, tokens


# A bounded table


def test_full_buckets_are_removed_before_others(clock: Clock) -> None:
    table = RateTable(RATE, WINDOW_S, clock, max_buckets=100)
    for number in range(50):
        table.take(f"empty-{number}", 10)
    for number in range(50):
        table.take(f"soon-full-{number}", 1)
    clock.now += 0.2
    table.take("new")
    assert len(table) == 51
    assert all(table.take(f"empty-{number}", 2).wait_s > 0 for number in range(50))


def test_the_table_never_outgrows_its_maximum(clock: Clock) -> None:
    table = RateTable(RATE, WINDOW_S, clock, max_buckets=100)
    for number in range(1000):
        table.take(f"key-{number}", 10)
        assert len(table) <= 100
    assert table.take("key-999").wait_s > 0, "the newest are kept"
    assert table.take("key-0").wait_s == 0


def test_of_buckets_that_are_not_full_an_old_one_with_the_most_tokens_goes(clock: Clock) -> None:
    table = RateTable(RATE, WINDOW_S, clock, max_buckets=3)
    for key, tokens in (("a", 10), ("b", 5), ("c", 10), ("d", 10)):
        table.take(key, tokens)
    assert [table.take(key).wait_s > 0 for key in ("a", "c", "d")] == [True, True, True]


def test_buckets_that_nobody_uses_any_more_leave_the_table(clock: Clock) -> None:
    table = RateTable(RATE, WINDOW_S, clock)
    for number in range(100):
        table.take(f"key-{number}")
    for _ in range(120):
        clock.now += 1
        table.take("other")
        table.take(f"new-{clock.now}")
    assert len(table) <= 4


@pytest.mark.parametrize(("seconds", "whole"), [(0.0, 1), (0.2, 1), (1.0, 1), (1.1, 2), (18.0, 18)])
def test_seconds_of_header_fields_are_rounded_up(seconds: float, whole: int) -> None:
    assert whole_seconds(seconds) == whole

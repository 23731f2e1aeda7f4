"""Waiting times grow to a bound, never stand still, and begin anew after a success."""

import pytest

from sse_node.redis.backoff import Backoff


def test_each_bound_is_twice_the_one_before_up_to_the_most() -> None:
    backoff = Backoff(first_s=0.1, most_s=1.0)
    for bound_s in (0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0):
        assert bound_s / 2 <= backoff.next_s() <= bound_s


def test_a_success_makes_the_next_time_short_again() -> None:
    backoff = Backoff(first_s=0.1, most_s=5.0)
    for _ in range(10):
        backoff.next_s()
    backoff.reset()
    assert backoff.next_s() <= 0.1


@pytest.mark.parametrize("attempt", [0, 3, 20])
def test_nodes_do_not_come_as_one(attempt: int) -> None:
    series = [Backoff() for _ in range(50)]
    for backoff in series:
        for _ in range(attempt):
            backoff.next_s()
    times = {backoff.next_s() for backoff in series}
    assert len(times) == 50
    assert max(times) > 1.2 * min(times)


def test_the_defaults_are_a_tenth_of_a_second_to_five() -> None:
    backoff = Backoff()
    assert backoff.next_s() <= 0.1
    assert max(backoff.next_s() for _ in range(50)) <= 5.0

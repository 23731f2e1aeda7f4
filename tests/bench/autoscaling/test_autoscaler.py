"""The autoscaler of the simulation against the documented algorithm."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from bench.autoscaling.autoscaler import SYNC_S, Autoscaler
from bench.autoscaling.rules import Direction, Policy, Rules

RULES = Rules(
    least=2, most=10, target=100,
    up=Direction(0, (Policy(30, percent=100), Policy(30, pods=2))),
    down=Direction(600, (Policy(120, pods=1),)),
    max_streams=150, drain_delay_s=15, drain_rate=10, max_age_s=0,
)  # fmt: skip


def decisions(rules: Rules, pods: int, streams: Sequence[float]) -> list[int]:
    """Return the number of pods after each look."""
    scaler = Autoscaler(rules)
    after = []
    for number, total in enumerate(streams):
        pods = scaler.decide(number * SYNC_S, pods, total)
        after.append(pods)
    return after


@pytest.mark.parametrize(
    ("pods", "streams", "expected"),
    [(2, 200, 2), (2, 219, 2), (2, 221, 3), (2, 300, 3), (2, 900, 4), (4, 900, 8), (2, 0, 2),
     (10, 9000, 10)],
)  # fmt: skip
def test_one_look(pods: int, streams: float, expected: int) -> None:
    assert decisions(RULES, pods, [streams]) == [expected]


def test_up_is_limited_by_the_period() -> None:
    assert decisions(RULES, 2, [900] * 5) == [4, 4, 8, 8, 9]


def test_down_waits_for_its_window_and_goes_one_by_one() -> None:
    looks = 600 // SYNC_S
    numbers = decisions(RULES, 6, [600] + [200] * (looks + 20))
    assert numbers[: looks + 1] == [6] * (looks + 1)
    assert numbers[looks + 1 :] == [5] * 8 + [4] * 8 + [3] * 4


def test_a_dip_changes_nothing() -> None:
    assert decisions(RULES, 6, [600, 0, 600] * 50) == [6] * 150


def test_up_takes_the_least_of_its_window() -> None:
    rules = replace(RULES, up=replace(RULES.up, window_s=30))
    assert decisions(rules, 2, [200, 900, 900, 900]) == [2, 2, 2, 4]

"""Simulated pods: nobody gets lost, and no pod is over its limit."""

import pytest

from bench.autoscaling.rules import rules_of
from bench.autoscaling.simulation import Simulation
from tests.bench.autoscaling.test_autoscaler import RULES


@pytest.mark.parametrize("cuts", [{}, {400: 0.01}, {400: 1.0}], ids=["quiet", "a pod", "all"])
def test_every_client_has_a_stream_or_asks_for_one(cuts: dict[int, float]) -> None:
    simulation = Simulation(RULES, lambda second: min(400, 100 + second), cuts)
    day = simulation.run(1500)
    for second, streams in enumerate(day.streams):
        assert streams + day.away[second] == min(400, 100 + second), second
    assert max(day.fullest) <= RULES.max_streams
    assert day.streams[-1] == 400
    assert day.pods[-1] == 4
    assert day.turns == 0


def test_a_drained_pod_closes_its_streams_at_the_rate() -> None:
    simulation = Simulation(RULES, lambda second: 400 if second < 900 else 100, {})
    day = simulation.run(4000)
    assert day.pods[-1] == 2
    assert max(day.reconnects[1000:]) <= RULES.drain_rate
    assert day.streams[-1] + day.away[-1] <= 100


def test_full_pods_refuse() -> None:
    day = Simulation(RULES, lambda second: 2000, {}).run(300)
    assert max(day.fullest) == RULES.max_streams
    assert sum(day.refused) > 0


def test_rules_without_an_autoscaler() -> None:
    with pytest.raises(KeyError):
        rules_of([])

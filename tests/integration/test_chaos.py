"""The chaos bench: every fault once, and sabotaged nodes that it finds."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from bench.chaos import report
from bench.chaos.checker import Violation
from bench.chaos.faults import possible_faults
from bench.chaos.runner import Settings, run
from bench.report.tables import Screen

pytestmark = pytest.mark.integration

SABOTAGED_NODE = (sys.executable, "-m", "tests.support.sabotaged_node")


def result_of(settings: Settings) -> report.ChaosResult:
    with Screen("chaos", report.COLUMNS) as screen:
        return run(settings, screen)


def test_nothing_is_lost_untold_by_any_fault() -> None:
    faults = possible_faults()
    settings = Settings(
        seed=7,
        minutes=10,  # it takes two or three
        most_faults=len(faults),
        faults=faults,
        streams=200,
        rate=80,
        users=20,
    )
    result = result_of(settings)
    assert result.problems == []
    assert result.cases == []
    assert {injected.fault for injected in result.injected} == set(faults)
    assert result.acknowledged > 2000
    # Ten streams a user; of the neighbour, which has an eleventh of the events, one.
    assert result.deliveries > 9 * result.acknowledged * 0.9


def sabotaged(sabotage: str, faults: list[str], **settings: Any) -> report.ChaosResult:  # noqa: ANN401
    launcher = (*SABOTAGED_NODE, sabotage, "serve")
    few = {"seed": 1, "minutes": 5, "streams": 40, "users": 10, "most_faults": len(faults)}
    return result_of(Settings(**few | settings, faults=faults, launcher=launcher))


@pytest.mark.parametrize(
    ("sabotage", "faults", "settings", "violation"),
    [
        ("catch-up", ["client-kill", "redis-kill"], {}, Violation.LOSS),
        # Only what is published between a subscription and its catch-up comes twice.
        ("dedupe", ["client-kill"], {"most_faults": 10, "rate": 400}, Violation.DUPLICATE),
        ("resets", ["log-trim", "failover"], {}, Violation.LOSS),
        ("resets", ["master-lag"], {"redis": "sentinel"}, Violation.LOSS),
        # What the former master takes between the first node's leaving and the last one's.
        (
            "former-end",
            ["master-switch"],
            {"redis": "sentinel", "most_faults": 5, "rate": 400},
            Violation.LOSS,
        ),
        # As with dedupe: what is published in the moments of a move.
        (
            "catch-up",
            ["slot-move"],
            {"redis": "cluster", "most_faults": 5, "rate": 400},
            Violation.LOSS,
        ),
    ],
)
def test_a_broken_node_is_found_guilty(
    sabotage: str, faults: list[str], settings: dict[str, Any], violation: Violation
) -> None:
    result = sabotaged(sabotage, faults, **settings)
    assert result.failed
    assert violation in {case.violation for case in result.cases}


def test_a_node_that_follows_no_failover_is_found_guilty() -> None:
    result = sabotaged("oldest-claim", ["bus-cut"], redis="cluster")
    assert any("no new event" in problem for problem in result.problems)

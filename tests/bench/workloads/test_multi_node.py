"""Several real nodes on one Redis, with small settings."""

import os

import pytest

from bench.harness.c_program import has_compiler
from bench.harness.fleet import Fleet, shares
from bench.report.tables import Screen
from bench.workloads import multi_node as nodes


@pytest.mark.parametrize(
    ("total", "count", "parts"),
    [(10, 1, [10]), (10, 3, [4, 3, 3]), (2, 3, [1, 1, 0])],
)
def test_shares_are_even(total: int, count: int, parts: list[int]) -> None:
    assert shares(total, count) == parts


@pytest.mark.integration
def test_a_fleet_is_nodes_on_ports_of_their_own() -> None:
    core = min(os.sched_getaffinity(0))
    with Fleet(2, cpu=core) as fleet:
        assert len(set(fleet.addresses)) == 2
        assert fleet.worker_pids == fleet.pids
        assert len(set(fleet.pids)) == 2
        assert all(os.sched_getaffinity(pid) == {core} for pid in fleet.pids)


@pytest.mark.integration
@pytest.mark.skipif(not has_compiler(), reason="no C compiler")
def test_every_event_reaches_its_user_on_any_node() -> None:
    settings = nodes.Settings(
        nodes=[1, 2],
        streams=5,
        rate=100,
        warmup_s=0.1,
        measured_s=0.2,
        rounds=1,
        payload_bytes=200,
    )
    with Screen("nodes", nodes.COLUMNS) as screen:
        result = nodes.run(settings, max(os.sched_getaffinity(0)), screen)
    assert result.problems == []
    assert list(result.samples) == ["1", "2"]
    windows = [*result.samples["1"], *result.samples["2"]]
    assert [window["nodes"] for window in windows] == [1, 2]
    assert {window["deliveries"] for window in windows} == {20}
    assert {window["latencies"] for window in windows} == {20}
    assert len(result.tables()[0].rows) == 2

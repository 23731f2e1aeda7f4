"""The ``unicast`` benchmark against a real node, made small."""

import os

import pytest

from bench.harness.c_program import has_compiler
from bench.measure.steady import Turns
from bench.report.tables import Screen
from bench.workloads import unicast

SETTINGS = unicast.Settings(
    users=40,
    payload_bytes=200,
    turns=Turns(rate=400, warmup_s=0.1, measured_s=0.2, pairs=2),
)

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not has_compiler(), reason="no C compiler"),
]


def test_every_event_reaches_its_user_once_from_node_and_floor() -> None:
    with Screen("unicast", unicast.COLUMNS) as screen:
        result = unicast.run(SETTINGS, max(os.sched_getaffinity(0)), screen)
    assert result.problems == []
    for measured in (result.node, result.floor):
        assert [window.deliveries for window in measured.windows] == [80, 80]
        assert measured.latency_ms.count == 160
    assert len(result.ratios) == 2
    assert result.tables()[0].row_count > 5

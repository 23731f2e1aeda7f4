"""The ``open`` benchmark against a real node, made small."""

import os

import pytest

from bench.harness.c_program import has_compiler
from bench.report.tables import Screen
from bench.workloads import opening

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not has_compiler(), reason="no C compiler"),
]


def test_every_round_opens_every_stream() -> None:
    settings = opening.Settings(streams=100, at_once=10, rounds=2)
    with Screen("open", opening.COLUMNS) as screen:
        result = opening.run(settings, max(os.sched_getaffinity(0)), screen)
    assert result.problems == []
    assert [measured.streams for measured in result.rounds] == [100, 100]
    assert result.lowest_per_s <= result.median_per_s <= result.highest_per_s
    assert result.tables()[0].row_count == 5

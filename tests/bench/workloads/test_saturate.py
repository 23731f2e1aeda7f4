"""The ``saturate`` benchmark against a real node, made small."""

import os

import pytest

from bench.harness.c_program import has_compiler
from bench.report.tables import Screen
from bench.workloads import saturate


@pytest.mark.integration
@pytest.mark.skipif(not has_compiler(), reason="no C compiler")
def test_every_round_delivers_every_event() -> None:
    settings = saturate.Settings(streams=50, events=200, rounds=2, payload_bytes=200)
    with Screen("saturate", saturate.COLUMNS) as screen:
        result = saturate.run(settings, max(os.sched_getaffinity(0)), screen)
    assert result.problems == []
    assert [measured.deliveries for measured in result.rounds] == [50 * 200] * 2
    assert result.lowest_per_s <= result.median_per_s <= result.highest_per_s

"""A client that stops reading, beside streams that read, on a real node."""

import pytest

from bench.harness.c_program import has_compiler
from bench.measure import procfs as proc
from bench.report.tables import Screen
from bench.workloads import slow_client as slow


@pytest.mark.integration
@pytest.mark.skipif(not has_compiler(), reason="no C compiler")
def test_a_short_run() -> None:
    settings = slow.Settings(streams=10, rate=4000, measured_s=3, pairs=1, payload_bytes=300)
    with Screen("slow", slow.COLUMNS) as screen:
        result = slow.run(settings, proc.reserve_core(), screen)
    assert result.problems == []
    assert [window.with_slow_client for window in result.windows] == [False, True]
    assert 0 < result.longest_gone_after_s <= 3
    assert result.p99_ratios == [result.p99_ratio]
    assert result.with_ms.count == result.without_ms.count == 10 * 4000 * 3
    assert result.tables()

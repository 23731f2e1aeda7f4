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
    assert list(result.samples) == ["without", "with a slow client"]
    (without,), (with_slow,) = result.samples.values()
    assert 0 < with_slow["gone_after_s"] <= 3
    assert "gone_after_s" not in without
    assert without["latencies"] == with_slow["latencies"] == 10 * 4000 * 3
    assert len(result.tables()[0].rows) == 5

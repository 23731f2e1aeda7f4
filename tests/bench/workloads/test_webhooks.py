"""The benchmark of webhooks, small: its dead host is dead, and its figures are there."""

from __future__ import annotations

import socket

import pytest

from bench.harness.c_program import has_compiler
from bench.measure import procfs as proc
from bench.report.tables import Screen
from bench.workloads import webhooks


def test_nobody_answers_at_a_dead_host() -> None:
    with webhooks.dead_host() as port, socket.socket() as client:
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.connect(("127.0.0.1", port))


@pytest.mark.integration
@pytest.mark.skipif(not has_compiler(), reason="no C compiler")
def test_a_short_run() -> None:
    settings = webhooks.Settings(webhooks=20, rate=200, measured_s=5, pairs=1)
    with Screen("webhooks", webhooks.COLUMNS) as screen:
        result = webhooks.run(settings, proc.reserve_core(), screen)
    assert result.problems == []
    (without,), (beside,) = result.samples.values()
    assert without["latencies"] == beside["latencies"] == 200 * 5
    assert beside["attempts"] > 0
    assert len(result.tables()[0].rows) == 7

"""Nodes with shards on one Redis and on three masters, with small settings."""

import os

import pytest

from bench.harness.c_program import has_compiler
from bench.report.tables import Screen
from bench.workloads import multi_node as nodes


@pytest.mark.integration
@pytest.mark.skipif(not has_compiler(), reason="no C compiler")
def test_with_affinity_a_node_hears_less() -> None:
    settings = nodes.Settings(
        nodes=[2],
        streams=40,
        shards=16,
        rate=800,
        warmup_s=0.1,
        measured_s=2.0,  # the kernel counts CPU time by hundredths
        rounds=1,
        payload_bytes=200,
    )
    with Screen("nodes", nodes.COLUMNS) as screen:
        result = nodes.run(settings, max(os.sched_getaffinity(0)), screen)
    assert result.problems == []
    assert list(result.samples) == ["1, 2", "1, 2 affine", "3, 2", "3, 2 affine"]
    for masters in ("1", "3"):
        (spread,), (affine,) = (result.samples[f"{masters}, 2{kind}"] for kind in ("", " affine"))
        assert affine["heard_share"] < 0.7 * spread["heard_share"]

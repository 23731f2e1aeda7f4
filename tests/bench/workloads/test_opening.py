"""The `open` benchmark against a real node, made small."""

import pytest

from bench.harness.c_program import has_compiler
from bench.harness.servers import SseNode
from bench.report.tables import Screen
from bench.workloads import opening

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not has_compiler(), reason="no C compiler"),
]


def test_every_stream_is_opened() -> None:
    with SseNode(None) as server, Screen("open", ()) as screen:
        measured = opening.measure(server, 100, 10, screen)
    assert (measured.streams, measured.refused) == (100, 0)
    assert measured.per_s > 0

"""Log lines about what may come thousands of times."""

import pytest

from sse_node.logs.rate_limit import OncePerSecond


def test_line_is_let_through_once_a_second_for_each_key(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now_s)
    lines = OncePerSecond()
    assert [lines.allows("a"), lines.allows("a"), lines.allows("b")] == [True, False, True]
    now_s = 0.999
    assert not lines.allows("a")
    now_s = 1.0
    assert [lines.allows("a"), lines.allows("a")] == [True, False]
    now_s = 1000.0
    assert [lines.allows("b"), lines.allows("b")] == [True, False]

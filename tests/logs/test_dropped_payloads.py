"""Dropped payloads are logged, but not each of them."""

import pytest

from sse_node.errors import PublisherError
from sse_node.logs.dropped_payloads import DroppedPayloads

TOO_LARGE = PublisherError("too-large", "payload has 300000 bytes; expected at most 262144")
NOT_JSON = PublisherError("not-json", "payload: malformed at byte 3")


def test_a_reason_is_logged_once_a_second(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now_s = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now_s)
    dropped = DroppedPayloads()
    for error in (TOO_LARGE, TOO_LARGE, NOT_JSON):
        dropped.log(error)
    now_s = 1.0
    dropped.log(TOO_LARGE)
    too_large = (
        "a payload from Redis was dropped: too-large: "
        "payload has 300000 bytes; expected at most 262144"
    )
    assert [record.getMessage() for record in caplog.records] == [
        too_large,
        "a payload from Redis was dropped: not-json: payload: malformed at byte 3",
        too_large,
    ]
    assert {record.levelname for record in caplog.records} == {"WARNING"}

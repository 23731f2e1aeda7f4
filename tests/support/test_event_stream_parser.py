"""The reference parser does what WHATWG HTML §9.2 says."""

import pytest

from tests.support.event_stream_parser import Event, parse_event_stream


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        pytest.param(b"", [], id="nothing"),
        pytest.param(b"data: a\n\n", [Event("message", "a", "")], id="data alone"),
        pytest.param(b"data:a\r\n\r\n", [Event("message", "a", "")], id="no space, CR LF"),
        pytest.param(b"data: a\rdata:  b\r\r", [Event("message", "a\n b", "")], id="CR, two lines"),
        pytest.param(b"data\n\n", [Event("message", "", "")], id="field without a colon"),
        pytest.param(b"event: e\n\n", [], id="no data, no event"),
        pytest.param(b"event: e\ndata: {}\n\n", [Event("e", "{}", "")], id="event type"),
        pytest.param(
            b"event: e\ndata: a\n\ndata: b\n\n",
            [Event("e", "a", ""), Event("message", "b", "")],
            id="event type is forgotten",
        ),
        pytest.param(
            b"id: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\n",
            [Event("message", "a", "1"), Event("message", "b", "1"), Event("message", "c", "")],
            id="id is kept until the next",
        ),
        pytest.param(
            "\ufeffdata: ü\u2028\0\n\n".encode(),
            [Event("message", "ü\u2028\0", "")],
            id="only CR and LF end lines",
        ),
    ],
)
def test_stream_is_interpreted_as_a_browser_does(stream: bytes, events: list[Event]) -> None:
    assert parse_event_stream(stream).events == events


def test_what_a_client_remembers() -> None:
    parsed = parse_event_stream(b"retry: 10\n\nretry: 3000\nid: 5-1\ndata: a\n\nid: 5-2\n\n")
    assert parsed.retry_ms == 3000
    assert parsed.last_event_id == "5-2"
    assert parse_event_stream(b"data: a\n\n").retry_ms is None


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(b"data: a", id="inside a line"),
        pytest.param(b"data: a\n", id="inside an event"),
        pytest.param(b"data: \xff\n\n", id="not UTF-8"),
        pytest.param(b": comment\n\n", id="comment"),
        pytest.param(b"date: a\n\n", id="unknown field"),
        pytest.param(b"id: 1\x00\ndata: a\n\n", id="NUL in an id"),
        pytest.param(b"retry: 3s\n\n", id="reconnection time"),
    ],
)
def test_what_a_browser_passes_over_is_an_error(stream: bytes) -> None:
    with pytest.raises(ValueError, match=r"stream ends|decode|ignores"):
        parse_event_stream(stream)

"""Events and reconnection times as an event stream carries them."""

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sse_node.wire.sse import encode_event, encode_retry
from tests.support.event_stream_parser import Event, parse_event_stream

LINES = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]))
FIELDS = st.fixed_dictionaries({"data": LINES, "event": LINES, "event_id": LINES})


@pytest.mark.parametrize(
    ("fields", "frame", "event"),
    [
        pytest.param({"data": b"{}"}, b"data: {}\n\n", Event("message", "{}", ""), id="data alone"),
        pytest.param({"data": b""}, b"data: \n\n", Event("message", "", ""), id="empty data"),
        pytest.param(
            {"data": b" a"}, b"data:  a\n\n", Event("message", " a", ""), id="a space of its own"
        ),
        pytest.param(
            {"data": b"{}", "event": b"ping"},
            b"event: ping\ndata: {}\n\n",
            Event("ping", "{}", ""),
            id="event type",
        ),
        pytest.param(
            {"data": b"{}", "event_id": b"5-1"},
            b"id: 5-1\ndata: {}\n\n",
            Event("message", "{}", "5-1"),
            id="id",
        ),
        pytest.param(
            {"data": "ü\u2028".encode(), "event": b"sse.open", "event_id": b"5-1"},
            b"event: sse.open\nid: 5-1\ndata: \xc3\xbc\xe2\x80\xa8\n\n",
            Event("sse.open", "ü\u2028", "5-1"),
            id="all fields",
        ),
    ],
)
def test_event_is_encoded_and_read_back(
    fields: Mapping[str, bytes], frame: bytes, event: Event
) -> None:
    assert encode_event(**fields) == frame
    assert parse_event_stream(frame).events == [event]


@pytest.mark.parametrize("character", [b"\r", b"\n", b"\0"], ids=["CR", "LF", "NUL"])
@pytest.mark.parametrize("name", ["data", "event", "event_id"])
def test_what_would_break_a_field_is_refused(name: str, character: bytes) -> None:
    fields = {"data": b"{}", "event": b"e", "event_id": b"1"}
    fields[name] += character + b"data: forged"
    with pytest.raises(ValueError, match="CR, LF or NUL in a field of event"):
        encode_event(**fields)


@settings(deadline=None)
@given(st.lists(FIELDS, max_size=5))
def test_every_frame_is_one_event_with_its_fields(events: list[dict[str, str]]) -> None:
    frames = [
        encode_event(**{name: value.encode() for name, value in fields.items()})
        for fields in events
    ]
    for frame in frames:
        assert len(parse_event_stream(frame).events) == 1
    last_event_id, expected = "", []
    for fields in events:
        last_event_id = fields["event_id"] or last_event_id
        expected.append(Event(fields["event"] or "message", fields["data"], last_event_id))
    assert parse_event_stream(b"".join(frames)).events == expected


@settings(deadline=None)
@given(st.binary(), st.binary(), st.binary())
def test_any_bytes_are_one_frame_or_refused(data: bytes, event: bytes, event_id: bytes) -> None:
    try:
        frame = encode_event(data, event=event, event_id=event_id)
    except ValueError:
        assert set(b"\r\n\0") & set(data + event + event_id)
    else:
        assert frame.endswith(b"\n\n")
        assert frame.count(b"\n\n") == 1
        assert b"\r" not in frame


@pytest.mark.parametrize(
    ("retry_ms", "frame"),
    [(0, b"retry: 0\n\n"), (3127, b"retry: 3127\n\n")],
    ids=["at once", "jittered"],
)
def test_reconnection_time_is_encoded_and_read_back(retry_ms: int, frame: bytes) -> None:
    assert encode_retry(retry_ms) == frame
    parsed = parse_event_stream(frame)
    assert parsed.retry_ms == retry_ms
    assert parsed.events == []


def test_negative_reconnection_time_is_refused() -> None:
    with pytest.raises(ValueError, match="reconnection time -1 ms; expected 0 or more"):
        encode_retry(-1)

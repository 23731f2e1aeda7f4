"""What a stream that stays open decides: seen or new, wait or stop."""

import pytest

from sse_node.client.state import Event, StreamState
from sse_node.errors import AccessEndedError, NoStreamError, ResetError, StreamClosedError

STREAM = {"content-type": "text/event-stream; charset=utf-8"}


def make_state(last_event_id: str = "", *, raises_resets: bool = False) -> StreamState:
    """A state whose random number is the greatest one."""
    return StreamState(
        last_event_id,
        raises_resets=raises_resets,
        retry_s=3,
        max_retry_s=30,
        uniform=lambda least, most: most,
    )


def frame(event_id: str = "", event_type: str = "", data: str = '{"eventType":"t","n":1}') -> bytes:
    lines = [f"id: {event_id}"] * bool(event_id) + [f"event: {event_type}"] * bool(event_type)
    return "\n".join([*lines, f"data: {data}", "", ""]).encode()


def test_the_event_type_is_in_the_data_or_in_the_event_field() -> None:
    state = make_state()
    plain, named = (*state.feed(frame("1-1")), *state.feed(frame("1-2", "named", "[1]")))
    assert plain == Event("1-1", "t", {"eventType": "t", "n": 1})
    assert named == Event("1-2", "named", [1])
    assert state.last_event_id == "1-2"


def test_what_was_seen_comes_once() -> None:
    state = make_state("5-0")
    ids = ["4-9", "5-0", "5-1", "5-1", "10-0", "9-0", "10-1"]
    told = [event.id for event_id in ids for event in state.feed(frame(event_id))]
    assert told == ["5-1", "10-0", "10-1"]


def test_events_without_an_id_are_told_and_move_nothing() -> None:
    state = make_state("5-0")
    assert [event.id for event in state.feed(frame() + frame())] == ["", ""]
    assert state.last_event_id == "5-0"


def test_pings_and_the_opening_are_not_events() -> None:
    state = make_state()
    assert list(state.feed(frame("7-0", "sse.open", "{}") + frame("", "ping", "{}"))) == []
    assert state.last_event_id == "7-0"
    assert list(state.feed(frame("6-0"))) == []


def test_a_reset_is_told_before_what_follows_and_moves_back() -> None:
    state = make_state("9-0")
    reset = frame("3-0", "sse.reset", '{"reason":"rollback"}')
    first, second = state.feed(reset + frame("4-0"))
    assert first == Event("3-0", "sse.reset", {"reason": "rollback"})
    assert second.id == "4-0"


def test_a_reset_may_be_an_error() -> None:
    state = make_state("9-0", raises_resets=True)
    with pytest.raises(ResetError, match="rollback"):
        list(state.feed(frame("3-0", "sse.reset", '{"reason":"rollback"}')))
    assert state.last_event_id == "3-0", "a new iteration goes on after it"


def test_the_end_of_access() -> None:
    with pytest.raises(AccessEndedError) as caught:
        list(make_state().feed(frame("", "sse.closed", '{"reason":"revoked"}')))
    assert caught.value.reason == "revoked"


def test_what_is_no_json_is_told_as_text() -> None:
    [event] = make_state().feed(frame("1-1", "t", "not json"))
    assert event == Event("1-1", "t", "not json")


def test_headers() -> None:
    assert "Last-Event-ID" not in make_state().headers("")
    headers = make_state("5-0").headers("a.b.c")
    assert headers["Last-Event-ID"] == "5-0"
    assert headers["Authorization"] == "Bearer a.b.c"


@pytest.mark.parametrize("status", [401, 403])
def test_access_is_refused(status: int) -> None:
    with pytest.raises(AccessEndedError, match="unauthorized"):
        make_state().on_response(status, STREAM)


def test_no_content_is_the_end() -> None:
    with pytest.raises(StreamClosedError, match="no-content"):
        make_state().on_response(204, {})


@pytest.mark.parametrize(
    ("status", "headers"),
    [(200, {"content-type": "text/html"}), (200, {}), (500, STREAM), (404, {}), (302, {})],
)
def test_what_is_no_stream_is_tried_again(status: int, headers: dict[str, str]) -> None:
    with pytest.raises(NoStreamError):
        make_state().on_response(status, headers)


def test_the_wait_doubles_up_to_a_limit_and_begins_anew_after_an_event() -> None:
    state = make_state()
    assert [state.wait_s() for _ in range(6)] == [3, 6, 12, 24, 30, 30]
    list(state.feed(frame("1-1")))
    assert state.wait_s() == 3


def test_the_server_says_how_long_to_wait() -> None:
    state = make_state()
    state.on_response(200, STREAM)
    list(state.feed(b"retry: 45000\n\n"))
    assert state.wait_s() == 45, "longer than the longest wait of our own"
    with pytest.raises(NoStreamError):
        state.on_response(503, {"retry-after": "50"})
    assert state.wait_s() == 50

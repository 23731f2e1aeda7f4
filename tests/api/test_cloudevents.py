"""CloudEvents in requests: what each mode holds, and what is refused with its name."""

import json
from typing import Any

import pytest

from sse_node.api.cloudevents import decode_cloudevents, is_cloudevents
from sse_node.api.event_content import MAX_EVENTS
from sse_node.errors import RequestError
from sse_node.wire.http_head import Request

STRUCTURED = b"application/cloudevents+json"
BATCHED = b"application/cloudevents-batch+json; charset=UTF-8"
EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "17",
    "source": "/orders",
    "type": "com.example.order.paid",
    "subject": "ann",
    "datacontenttype": "application/json",
    "time": "2026-11-27T12:00:00Z",
    "data": {"total": 5},
}
ATTRIBUTES = {
    "ce-specversion": "1.0",
    "ce-id": "17",
    "ce-source": "/orders",
    "ce-type": "order.paid",
    "ce-subject": "ann",
}


def request_of(content: object, media_type: bytes = STRUCTURED, **headers: bytes) -> Request:
    fields = {name.replace("_", "-").encode(): value for name, value in headers.items()}
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return Request("POST", "/events", "", {b"content-type": media_type, **fields}, text)


def binary(content: bytes = b'{"total":5}', **changes: str | None) -> Request:
    names = {f"ce-{name}": value for name, value in changes.items() if name != "media_type"}
    attributes = {**ATTRIBUTES, **names}
    fields = {name.encode(): v.encode() for name, v in attributes.items() if v is not None}
    if (media_type := changes.get("media_type", "application/json")) is not None:
        fields[b"content-type"] = media_type.encode()
    return Request("POST", "/events", "", fields, content)


def refusal_of(request: Request) -> tuple[int, str]:
    assert is_cloudevents(request)
    with pytest.raises(RequestError) as caught:
        decode_cloudevents(request)
    return caught.value.status, caught.value.detail


def test_structured_mode() -> None:
    request = request_of(EVENT)
    assert is_cloudevents(request)
    [(at, event)] = decode_cloudevents(request).items()
    assert (at, event.key) == ("", "/orders 17")
    assert event.content.user_id == "ann"
    assert event.content.event_type == "com.example.order.paid"
    assert json.loads(bytes(event.content.data)) == {"total": 5}
    assert not event.content.volatile


def test_a_channel_goes_before_the_subject() -> None:
    [event] = decode_cloudevents(request_of(EVENT | {"channel": "room:42"})).values()
    assert event.content.channel == "room:42"
    assert isinstance(event.content.user_id, type(event.content.user_id))
    assert event.content.user_id != "ann"


def test_an_event_without_data_has_null() -> None:
    without = {name: value for name, value in EVENT.items() if name != "data"}
    [event] = decode_cloudevents(request_of(without)).values()
    assert bytes(event.content.data) == b"null"
    [event] = decode_cloudevents(binary(b"", media_type=None)).values()
    assert bytes(event.content.data) == b"null"


def test_a_batch_has_places() -> None:
    events = decode_cloudevents(request_of([EVENT, EVENT | {"id": "18"}], BATCHED))
    assert {at: event.key for at, event in events.items()} == {
        "[0].": "/orders 17",
        "[1].": "/orders 18",
    }


def test_binary_mode() -> None:
    request = binary(b" [1] ", subject="J%C3%B6rg", type='"order.paid"', media_type="a/b+json")
    assert is_cloudevents(request)
    [event] = decode_cloudevents(request).values()
    assert event.content.user_id == "Jörg"
    assert event.content.event_type == "order.paid"
    assert bytes(event.content.data) == b"[1]"
    assert event.key == "/orders 17"


def test_what_is_no_cloudevent() -> None:
    assert not is_cloudevents(request_of({}, b"application/json"))
    assert not is_cloudevents(Request("POST", "/events", "", {}, b""))


@pytest.mark.parametrize("member", ["specversion", "id", "source", "type", "subject"])
def test_what_is_missing_is_named(member: str) -> None:
    wrong = {name: value for name, value in EVENT.items() if name != member}
    status, detail = refusal_of(request_of(wrong))
    assert (status, detail.startswith(f"content: {member} is missing")) == (422, True)
    status, detail = refusal_of(request_of([EVENT, wrong], BATCHED))
    assert (status, detail.startswith(f"content: [1].{member} is missing")) == (422, True)
    if member != "specversion":  # without it the request is in our own form
        changes: dict[str, str | None] = {member: None}
        status, detail = refusal_of(binary(b"1", **changes))
        assert (status, f"{member} is missing" in detail) == (422, True)


@pytest.mark.parametrize(
    ("request_", "status", "detail"),
    [
        (request_of(EVENT | {"specversion": "0.3"}), 422, "content: specversion '0.3': expected 1"),
        (binary(specversion="2"), 422, "content: specversion '2': expected 1.0"),
        (request_of(EVENT | {"id": ""}), 422, "content: id: expected a string with a length"),
        (request_of(EVENT | {"id": 17}), 422, "content: id: expected a string, got a number"),
        (request_of(EVENT | {"data_base64": "aGk="}), 422, "content: data_base64: expected data"),
        (request_of([EVENT]), 422, "content: expected an object, got an array"),
        (request_of(EVENT, BATCHED), 422, "content: expected an array, got an object"),
        (request_of([], BATCHED), 422, "content: expected an array with a length of at least 1"),
        (request_of([EVENT] * (MAX_EVENTS + 1), BATCHED), 422, "content: expected an array with"),
        (request_of(b"{", STRUCTURED), 400, "content: expected JSON"),
        (request_of(b"<a/>", b"application/cloudevents+xml"), 415, "Content-Type"),
        (binary(b"hi", media_type="text/plain"), 415, "Content-Type 'text/plain': expected app"),
        (binary(b"hi"), 400, "content: expected JSON"),
        (binary(subject="%ff"), 400, "ce-subject: expected percent-encoded UTF-8"),
        (binary(source="x" * 1025), 422, "headers: ce-source: expected a string with a length of"),
        (request_of(EVENT, idempotency_key=b"k"), 400, "Idempotency-Key: expected none"),
    ],
)
def test_what_is_refused(request_: Request, status: int, detail: str) -> None:
    found_status, found_detail = refusal_of(request_)
    assert found_status == status
    assert found_detail.startswith(detail)

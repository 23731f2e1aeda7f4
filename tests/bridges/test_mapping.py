"""What event a record is, in each form, and which records are bad."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from sse_node.bridges.mapping import Mapping, Places
from sse_node.bridges.place import parse_place
from sse_node.bridges.record import Record
from sse_node.errors import PublisherError
from sse_node.wire.channels import Channels

if TYPE_CHECKING:
    from sse_node.bridges.place import Place

CHANNELS = Channels(["news", "room:*"])
USER_EVENTS = "user-events"
MESSAGE = {"userId": "ann", "eventType": "order.paid", "data": {"n": 1}}
CLOUDEVENT = {
    "specversion": "1.0",
    "id": "7",
    "source": "/orders",
    "type": "order.paid",
    "subject": "ann",
    "data": {"n": 1},
}
ANN = b'{"userId":"ann","eventType":"order.paid","data":{"n":1}}'


def record(
    value: object, headers: dict[str, bytes] | None = None, key: bytes | None = None
) -> Record:
    content = value if isinstance(value, bytes | None) else json.dumps(value, separators=(",", ":"))
    content = content.encode() if isinstance(content, str) else content
    return Record("orders [0] @ 7", 7, content, key, headers or {})


def without(members: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in members.items() if key != name}


def binary(**changes: bytes) -> dict[str, bytes]:
    attributes = {"specversion": b"1.0", "id": b"7", "type": b"order.paid", "subject": b"ann"}
    return {f"ce_{name}": value for name, value in (attributes | changes).items()}


@pytest.mark.parametrize(
    ("each", "channel", "payload"),
    [
        pytest.param(record(MESSAGE), USER_EVENTS, ANN, id="message"),
        pytest.param(
            record(MESSAGE | {"userId": 123}), USER_EVENTS, ANN.replace(b"ann", b"123"), id="number"
        ),
        pytest.param(record(MESSAGE | {"id": "1-1", "more": []}), USER_EVENTS, ANN, id="more"),
        pytest.param(
            record(without(MESSAGE, "userId") | {"channel": "news"}),
            "news",
            b'{"eventType":"order.paid","data":{"n":1}}',
            id="fixed channel",
        ),
        pytest.param(
            record(without(MESSAGE, "userId") | {"channel": "room:1"}),
            "channel-events",
            b'{"channel":"room:1","eventType":"order.paid","data":{"n":1}}',
            id="named channel",
        ),
        pytest.param(record(CLOUDEVENT), USER_EVENTS, ANN, id="structured"),
        pytest.param(
            record(without(CLOUDEVENT, "data")),
            USER_EVENTS,
            ANN.replace(b'{"n":1}', b"null"),
            id="structured without data",
        ),
        pytest.param(
            record(CLOUDEVENT | {"channel": "news"}),
            "news",
            b'{"eventType":"order.paid","data":{"n":1}}',
            id="structured for a channel",
        ),
        pytest.param(record({"n": 1}, binary()), USER_EVENTS, ANN, id="binary"),
        pytest.param(record(b' {"n":1}\n', binary()), USER_EVENTS, ANN, id="binary with spaces"),
        pytest.param(
            record(None, binary()), USER_EVENTS, ANN.replace(b'{"n":1}', b"null"), id="binary null"
        ),
        pytest.param(
            record(
                {"n": 1},
                {f"cloudevents:{name[3:]}": value for name, value in binary().items()},
            ),
            USER_EVENTS,
            ANN,
            id="binary over AMQP",
        ),
    ],
)
def test_event(each: Record, channel: str, payload: bytes) -> None:
    assert Mapping(CHANNELS, 10_000).event_of(each) == (channel, payload)


def mapped(user: str = "", channel: str = "", event_type: str = "text:order.paid") -> Mapping:
    places: list[Place | None] = [parse_place("--x", text) for text in (user, channel, event_type)]
    assert places[2] is not None
    return Mapping(CHANNELS, 10_000, Places(places[0], places[1], places[2]))


@pytest.mark.parametrize(
    ("mapping", "each"),
    [
        pytest.param(mapped("key"), record({"n": 1}, key=b"ann"), id="key"),
        pytest.param(mapped("header:User"), record({"n": 1}, {"user": b"ann"}), id="header"),
        pytest.param(
            mapped("key", event_type="header:event-type"),
            record({"n": 1}, {"event-type": b"order.paid"}, b"ann"),
            id="type in a header",
        ),
    ],
)
def test_places(mapping: Mapping, each: Record) -> None:
    assert mapping.event_of(each) == (USER_EVENTS, ANN)


def test_the_whole_value_is_the_data() -> None:
    value = b'{"customer":{"ids":[7,"ann"]},"what":"order.paid"}'
    mapping = mapped("$.customer.ids[1]", event_type="$['what']")
    payload = b'{"userId":"ann","eventType":"order.paid","data":%b}' % value
    assert mapping.event_of(record(value)) == (USER_EVENTS, payload)


def test_a_channel_by_place() -> None:
    channel, payload = mapped(channel="$.room").event_of(record({"room": "room:1"}))
    assert channel == "channel-events"
    assert payload == b'{"channel":"room:1","eventType":"order.paid","data":{"room":"room:1"}}'


@pytest.mark.parametrize(
    ("each", "reason", "detail"),
    [
        pytest.param(record(None), "bad-field", "no value", id="tombstone"),
        pytest.param(record(b""), "not-json", "truncated", id="empty"),
        pytest.param(record(b"{"), "not-json", "truncated", id="not JSON"),
        pytest.param(
            record(ANN.replace(b'{"n":1}', b'"\xff"')), "not-utf8", "UTF-8", id="data not UTF-8"
        ),
        pytest.param(record([MESSAGE]), "bad-field", "array", id="array"),
        pytest.param(record({"data": 1}), "bad-field", "eventType and spec", id="neither form"),
        pytest.param(record(without(MESSAGE, "userId")), "bad-field", "exactly one", id="no user"),
        pytest.param(
            record(MESSAGE | {"channel": "news"}), "bad-field", "exactly one", id="both addresses"
        ),
        pytest.param(record(MESSAGE | {"userId": "a b"}), "bad-field", "user 'a b'", id="user"),
        pytest.param(
            record(without(MESSAGE, "userId") | {"channel": "other"}),
            "bad-field",
            "expected one of system-events, news, room:*",
            id="channel",
        ),
        pytest.param(record(MESSAGE | {"eventType": "ping"}), "bad-field", "'ping'", id="type"),
        pytest.param(
            record(MESSAGE | {"eventType": 'x","userId":"bob'}),
            "bad-field",
            "event type",
            id="quote",
        ),
        pytest.param(
            record(ANN.replace(b'{"n":1}', b"[" * 200 + b"]" * 200)), "too-deep", "128", id="deep"
        ),
        pytest.param(record(MESSAGE | {"data": "x" * 10_000}), "too-large", "10000", id="large"),
        pytest.param(record(CLOUDEVENT | {"specversion": "0.3"}), "bad-field", "1.0", id="0.3"),
        pytest.param(record(without(CLOUDEVENT, "subject")), "bad-field", "subject", id="subject"),
        pytest.param(record(CLOUDEVENT | {"data_base64": "eA=="}), "bad-field", "JSON", id="bytes"),
        pytest.param(record(b"<a/>", binary()), "not-json", "malformed", id="binary, not JSON"),
        pytest.param(
            record(b'1,"userId":"bob"', binary()), "not-json", "trailing", id="binary, two values"
        ),
        pytest.param(record({}, binary(subject=b"\xff")), "not-utf8", "UTF-8", id="attribute"),
    ],
)
def test_bad_records(each: Record, reason: str, detail: str) -> None:
    with pytest.raises(PublisherError, match=detail.replace("*", r"\*")) as caught:
        Mapping(CHANNELS, 10_000).event_of(each)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("mapping", "each", "detail"),
    [
        pytest.param(mapped("key"), record({}), "the record has no key", id="no key"),
        pytest.param(mapped("key"), record({}, key=b"\xff"), "key is not UTF-8", id="key"),
        pytest.param(mapped("header:user"), record({}), "header user is missing", id="no header"),
        pytest.param(mapped("$.a.b"), record({"a": 1}), r"\$.a.b is missing", id="no member"),
        pytest.param(mapped("$.a[1]"), record({"a": [1]}), "is missing", id="no entry"),
        pytest.param(mapped("$.a"), record({"a": True}), "expected a string", id="kind"),
        pytest.param(mapped("$.a"), record(b"nope"), "value: ", id="not JSON"),
        pytest.param(mapped("$.a"), record(None), "value: ", id="no value"),
    ],
)
def test_records_without_a_place_are_bad(mapping: Mapping, each: Record, detail: str) -> None:
    with pytest.raises(PublisherError, match=detail):
        mapping.event_of(each)

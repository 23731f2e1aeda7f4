"""The contract with publishers: payloads, and the frames made of them."""

import json
import string

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sse_node.errors import PublisherError
from sse_node.wire.envelope import (
    DROP_REASONS,
    Envelope,
    channel_of,
    decode_envelope,
    encode_channel_envelope,
    encode_envelope,
    encode_frame,
    insert_id,
    is_channel_name,
    is_event_type,
    is_user_id,
    position_of,
    user_of,
)
from sse_node.wire.event_id import format_position, parse_position
from tests.support.event_stream_parser import Event, parse_event_stream

MAX_BYTES = 262144
VALID = b'{"id":"5-1","log":"log","userId":"123","eventType":"t","data":{"a":1}}'

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(TEXT, children, max_size=4),
    max_leaves=8,
)  # fmt: skip
NAME_CHARACTERS = "".join(map(chr, range(0x21, 0x7F))).replace('"', "").replace("\\", "")
USER_IDS = st.text(NAME_CHARACTERS, min_size=1, max_size=255).filter(is_user_id)
EVENT_TYPES = st.text(string.ascii_letters + string.digits + "_.:-", min_size=1, max_size=64)
POSITIONS = st.integers(0, 2**128 - 1)


def envelope_of(data: bytes, event_type: str = "t") -> Envelope:
    return Envelope(event_type, msgspec.Raw(data))


def refusal_of(payload: bytes, max_bytes: int = MAX_BYTES) -> PublisherError:
    """Return the error for which no event can be made of a payload."""
    with pytest.raises(PublisherError) as caught:
        user_of(decode_envelope(payload, max_bytes))
    return caught.value


# Names


@pytest.mark.parametrize(
    "user_id",
    ["1", "123", "a", "Z", "ann@example.com", "ann+x@example.com", "auth0|5f7c", "a_b.c:d-e", "-5",
     "...", ".a", "a/b", "a#", "#a", "a%", "%31", "a,b", "*", "~", NAME_CHARACTERS, "x" * 255],
)  # fmt: skip
def test_names_a_user(user_id: str) -> None:
    assert is_user_id(user_id)


@pytest.mark.parametrize(
    "user_id",
    [
        "",
        ".",
        "..",
        "x" * 256,
        "a b",
        " a",
        "a\n",
        "\n",
        "a\0",
        "a\x7f",
        "ü",
        "\u0663",
        '"',
        "a\\",
    ],
)
def test_names_no_user(user_id: str) -> None:
    assert not is_user_id(user_id)


@pytest.mark.parametrize(
    "name", ["a", "room:42", "order/7#x", "*", ".", "..", "a%2Cb", NAME_CHARACTERS.replace(",", "")]
)
def test_names_a_channel(name: str) -> None:
    assert is_channel_name(name)


@pytest.mark.parametrize("name", ["", "a,b", ",", "a b", 'a"', "a\\", "ü", "a\n", "x" * 256])
def test_names_no_channel(name: str) -> None:
    assert not is_channel_name(name)


@given(st.text(max_size=300) | USER_IDS)
def test_names_are_printable_ascii(name: str) -> None:
    good = 1 <= len(name) <= 255 and set(name) <= set(NAME_CHARACTERS)
    assert is_user_id(name) == (good and name not in {".", ".."})
    assert is_channel_name(name) == (good and "," not in name)


@pytest.mark.parametrize(
    "event_type",
    ["t", "snapshots.generated", "A:b_c-D.9", "opened", "Open", "sse", "ssex.a", "a.sse.b",
     "error.x", "messages", "x" * 64],
)  # fmt: skip
def test_is_an_event_type(event_type: str) -> None:
    assert is_event_type(event_type)


@pytest.mark.parametrize(
    "event_type",
    ["", "open", "error", "message", "ping", "sse.", "sse.open", "x" * 65, "a b", "a\n", "open\n",
     "a@b", "a\r", "ü", '"', "a/b"],
)  # fmt: skip
def test_is_no_event_type_of_a_publisher(event_type: str) -> None:
    assert not is_event_type(event_type)


# Payload to envelope


@pytest.mark.parametrize(
    ("payload", "user", "event_type", "data", "position"),
    [
        pytest.param(
            b'{"userId":"123","eventType":"t","data":{"a":1}}',
            "123", "t", b'{"a":1}', None, id="as another service publishes it",
        ),
        pytest.param(VALID, "123", "t", b'{"a":1}', (5 << 64) + 1, id="as sse-node publishes it"),
        pytest.param(
            b' {"data" : [1.0, 1e3] , "eventType":"t",\n"userId":123 } ',
            "123", "t", b"[1.0, 1e3]", None, id="other order, blanks, user as an integer",
        ),
        pytest.param(
            b'{"userId":-5,"eventType":"t","data":0}', "-5", "t", b"0", None, id="negative user",
        ),
        pytest.param(
            b'{"userId":' + b"9" * 255 + b',"eventType":"t","data":null}',
            "9" * 255, "t", b"null", None, id="user of 255 digits",
        ),
        pytest.param(
            b'{"userId":"\\u0061","eventType":"\\u0074","data":"\\u0061"}',
            "a", "t", b'"\\u0061"', None, id="escapes are the same user and type",
        ),
        pytest.param(
            b'{"userId":"1","userId":"2","eventType":"t","data":1,"data":2}',
            "2", "t", b"2", None, id="of a doubled member the last",
        ),
        pytest.param(
            b'{"id":7,"userId":"1","eventType":"t","data":1,"more":[{}]}',
            "1", "t", b"1", None, id="an id of another kind, an unknown member",
        ),
        pytest.param(
            b'{"id":"order-7","userId":"1","eventType":"t","data":1}',
            "1", "t", b"1", None, id="an id of another form",
        ),
        pytest.param(
            '{"userId":"1","eventType":"t","data":"ü\u2028😀"}'.encode(),
            "1", "t", '"ü\u2028😀"'.encode(), None, id="UTF-8",
        ),
    ],
)  # fmt: skip
def test_payload_is_decoded(
    payload: bytes, user: str, event_type: str, data: bytes, position: int | None
) -> None:
    envelope = decode_envelope(payload, MAX_BYTES)
    assert user_of(envelope) == user
    assert envelope.event_type == event_type
    assert bytes(envelope.data) == data
    assert position_of(payload, b"log") == position


@pytest.mark.parametrize(
    ("payload", "reason", "detail"),
    [
        pytest.param(b"", "not-json", "payload: Input data was truncated", id="empty"),
        pytest.param(b"hello", "not-json", "malformed", id="text"),
        pytest.param(VALID[:-1], "not-json", "truncated", id="cut off"),
        pytest.param(VALID + b"x", "not-json", "trailing characters", id="something behind it"),
        pytest.param(b"\xef\xbb\xbf" + VALID, "not-json", "malformed", id="byte order mark"),
        pytest.param(VALID.decode().encode("utf-16"), "not-utf8", "invalid start", id="UTF-16"),
        pytest.param(
            b'{"userId":"1","eventType":"t","data":"\xff"}', "not-utf8", "invalid start byte",
            id="not UTF-8",
        ),
        pytest.param(
            b'{"userId":"1","eventType":"t","data":"\xed\xa0\x80"}', "not-utf8", "continuation",
            id="surrogate as UTF-8",
        ),
        pytest.param(
            b'{"userId":"1","eventType":"t","data":1,"x":"\xc0\xaf"}', "not-utf8", "start byte",
            id="overlong, in a member nobody reads",
        ),
        pytest.param(b"[]", "bad-field", "Expected `object`, got `array`", id="array"),
        pytest.param(b"null", "bad-field", "Expected `object`, got `null`", id="null"),
        pytest.param(b"{}", "bad-field", "missing required field `eventType`", id="no fields"),
        pytest.param(
            b'{"eventType":"t","data":1}', "bad-field", "userId is missing; expected 1 to 255",
            id="no userId",
        ),
        pytest.param(
            b'{"userId":"1","data":1}', "bad-field", "missing required field `eventType`",
            id="no eventType",
        ),
        pytest.param(
            b'{"userId":"1","eventType":"t"}', "bad-field", "missing required field `data`",
            id="no data",
        ),
        pytest.param(
            b'{"userId":"1","eventType":5,"data":1}', "bad-field", "`$.eventType`",
            id="eventType a number",
        ),
    ],
)  # fmt: skip
def test_payload_is_refused(payload: bytes, reason: str, detail: str) -> None:
    refusal = refusal_of(payload)
    assert refusal.reason == reason
    assert detail in str(refusal)


@pytest.mark.parametrize(
    "user_id",
    ["1.0", "1e3", "true", "false", "null", "[1]", "{}", '""', '"a b"', '"\\n"', '"\\u0000"',
     "1e999", "9" * 256, "9" * 4300, "9" * 4301, "9" * 100_000, '"' + "x" * 256 + '"'],
    ids=lambda value: value[:20],
)  # fmt: skip
def test_user_of_a_wrong_kind_is_refused(user_id: str) -> None:
    refusal = refusal_of(b'{"userId":%b,"eventType":"t","data":1}' % user_id.encode())
    assert refusal.reason == "bad-field"
    assert "userId" in str(refusal)
    assert len(str(refusal)) < 300


@pytest.mark.parametrize(
    "data",
    ["", "NaN", "Infinity", "-Infinity", "01", "1.", ".5", "+1", "-", "1e", "tru", "nulll", "'a'",
     '"a\nb"', '"a\rb"', '"a\tb"', '"\0"', '"\\x"', '"\\u12"', '"', "[1,]", '{"a":1,}', "{a:1}",
     "[1 2]", "[1}", "1 2", "/*c*/1", '"\\ud800"', '"\\udc00"', '"\\ud800\\u0041"', '{"\\ud800":1}',
     '"\\ud800\\\\ \\" x"'],
)  # fmt: skip
def test_data_that_is_not_json_is_refused(data: str) -> None:
    payload = b'{"userId":"1","eventType":"t","data":%b}' % data.encode()
    assert refusal_of(payload).reason == "not-json"


@pytest.mark.parametrize("closed", [False, True], ids=["open", "closed"])
@pytest.mark.parametrize("member", ["data", "more"])
@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_payload_nested_too_deep_is_refused(opening: str, member: str, closed: bool) -> None:
    depth = 100_000
    nested = opening * depth + ("1" + ("]" if opening == "[" else "}") * depth) * closed
    payload = '{"userId":"1","eventType":"t","data":1,"%s":%s}' % (member, nested)  # noqa: UP031
    assert refusal_of(payload.encode(), 10**6).reason == "too-deep"


def test_payload_may_have_as_many_bytes_as_allowed_and_its_id_on_top() -> None:
    payload = encode_envelope("123", "t", b'{"a":1}', broadcast=False)
    most = len(payload)
    for id_of_the_log in (b"5-1", format_position(2**128 - 1)):
        decode_envelope(insert_id(payload, id_of_the_log, b"log"), most)
        assert refusal_of(insert_id(payload, id_of_the_log, b"log"), most - 1).reason == "too-large"
    decode_envelope(payload, most)
    assert str(refusal_of(payload, most - 1)) == (
        f"payload of {most} bytes; at most {most - 1} are accepted"
    )


@pytest.mark.parametrize("id_of_another", [b"order-7", b"5-1x", b"5", b"9" * 100])
def test_an_id_of_another_form_counts(id_of_another: bytes) -> None:
    payload = encode_envelope("123", "t", b'{"a":1}', broadcast=False)
    refusal = refusal_of(insert_id(payload, id_of_another, b"log"), len(payload))
    assert refusal.reason == "too-large"


def test_a_refused_user_is_refused_again() -> None:
    for _ in range(2):
        assert refusal_of(b'{"userId":"a b","eventType":"t","data":1}').reason == "bad-field"


# Envelope to frame


@pytest.mark.parametrize(
    ("data", "members"),
    [
        pytest.param(b'{"a":1}', b',"a":1}', id="object"),
        pytest.param(b"{}", b"}", id="empty object"),
        pytest.param(b"{ \t }", b"}", id="empty object with blanks"),
        pytest.param(b"{\r\n}", b"}", id="empty object over two lines"),
        pytest.param(b'{ "a":1}', b', "a":1}', id="object with a blank"),
        pytest.param(b'{\n  "a": 1,\r\n\t"b": []\r}', b',   "a": 1,  \t"b": [] }', id="indented"),
        pytest.param(b"[]", b',"data":[]}', id="array"),
        pytest.param(b"[\n1]", b',"data":[ 1]}', id="array over two lines"),
        pytest.param(b'"a\\nb"', b',"data":"a\\nb"}', id="text with an escaped line break"),
        pytest.param(b'""', b',"data":""}', id="empty text"),
        pytest.param(b"1.0", b',"data":1.0}', id="number as it is spelled"),
        pytest.param(b"1E+03", b',"data":1E+03}', id="number in another spelling"),
        pytest.param(b"null", b',"data":null}', id="null"),
        pytest.param('"ü\u2028"'.encode(), b',"data":"\xc3\xbc\xe2\x80\xa8"}', id="UTF-8"),
        pytest.param(b'"\\u00fc\\/"', b',"data":"\\u00fc\\/"}', id="escapes stay"),
    ],
)
def test_data_goes_through_as_it_is(data: bytes, members: bytes) -> None:
    frame = encode_frame(envelope_of(data), None, event_names=False)
    assert frame == b'data: {"eventType":"t"%b\n\n' % members


@pytest.mark.parametrize(
    ("position", "event_names", "frame", "event"),
    [
        pytest.param(
            None, False, b'data: {"eventType":"t","data":1}\n\n',
            Event("message", '{"eventType":"t","data":1}', ""), id="plain",
        ),
        pytest.param(
            (5 << 64) + 1, False, b'id: 5-1\ndata: {"eventType":"t","data":1}\n\n',
            Event("message", '{"eventType":"t","data":1}', "5-1"), id="with its id",
        ),
        pytest.param(
            (5 << 64) + 1, True, b'id: 5-1\nevent: t\ndata: {"eventType":"t","data":1}\n\n',
            Event("t", '{"eventType":"t","data":1}', "5-1"), id="with its type",
        ),
    ],
)  # fmt: skip
def test_frame_has_the_fields_that_are_asked_for(
    position: int | None, event_names: bool, frame: bytes, event: Event
) -> None:
    assert encode_frame(envelope_of(b"1"), position, event_names=event_names) == frame
    assert parse_event_stream(frame).events == [event]


@pytest.mark.parametrize(
    "event_type", ["open", "sse.reset", "a\nb", "a\r", "a\0", "", "a\ndata: 1"]
)
@pytest.mark.parametrize("event_names", [False, True])
def test_event_type_that_no_publisher_may_use_is_refused(
    event_type: str, event_names: bool
) -> None:
    with pytest.raises(PublisherError, match=r"eventType '.*'; expected 1 to 64 of") as caught:
        encode_frame(envelope_of(b"1", event_type), None, event_names=event_names)
    assert caught.value.reason == "bad-field"


def test_a_member_of_the_data_wins_over_the_type_as_in_a_spread() -> None:
    frame = encode_frame(envelope_of(b'{"eventType":"u"}'), None, event_names=False)
    assert frame == b'data: {"eventType":"t","eventType":"u"}\n\n'


# Publishing


@pytest.mark.parametrize(
    ("address", "broadcast", "payload"),
    [
        pytest.param(
            "123", False, b'{"userId":"123","eventType":"t","data":{"a":1}}', id="for a user"
        ),
        pytest.param(
            "system-events", True, b'{"eventType":"t","data":{"a":1}}', id="for a channel"
        ),
    ],
)
def test_event_is_encoded_for_redis(address: str, broadcast: bool, payload: bytes) -> None:
    assert encode_envelope(address, "t", b'{"a":1}', broadcast=broadcast) == payload
    with_id = insert_id(payload, b"5-1", b"log")
    assert with_id == b'{"id":"5-1","log":"log",' + payload[1:]
    envelope = decode_envelope(with_id, MAX_BYTES)
    assert position_of(with_id, b"log") == (5 << 64) + 1
    assert bytes(envelope.data) == b'{"a":1}'
    assert envelope.user_id == (None if broadcast else address)


def test_event_of_a_named_channel_is_encoded_for_redis() -> None:
    payload = encode_channel_envelope("room:42", "t", b'{"a":1}')
    assert payload == b'{"channel":"room:42","eventType":"t","data":{"a":1}}'
    with_id = insert_id(payload, b"5-1", b"log")
    envelope = decode_envelope(with_id, len(payload), named=True)
    assert channel_of(envelope) == "room:42"
    assert bytes(envelope.data) == b'{"a":1}'
    assert position_of(with_id, b"log") == (5 << 64) + 1


@pytest.mark.parametrize(
    ("members", "detail"),
    [
        (b"", "channel is missing"),
        (b'"channel":null,', "channel is missing"),
        (b'"channel":7,', "payload: Expected `str | null`, got `int`"),
        (b'"channel":"",', "channel ''; expected 1 to 255"),
        (b'"channel":"a b",', "channel 'a b'; expected 1 to 255"),
        (b'"channel":"a,b",', "channel 'a,b'; expected 1 to 255"),
        (b'"channel":"\\u0000",', "channel '\\x00'; expected 1 to 255"),
        (b'"userId":"1",', "channel is missing"),
    ],
)
def test_channel_that_names_none_is_refused(members: bytes, detail: str) -> None:
    with pytest.raises(PublisherError) as caught:
        channel_of(decode_envelope(b'{%b"eventType":"t","data":1}' % members, 1000, named=True))
    assert caught.value.reason == "bad-field"
    assert str(caught.value).startswith(detail)


def test_member_channel_is_ignored_on_other_redis_channels() -> None:
    payload = b'{"channel":[1],"userId":"1","eventType":"t","data":1}'
    assert user_of(decode_envelope(payload, 1000)) == "1"


@pytest.mark.parametrize(
    ("payload", "position"),
    [
        pytest.param(b'{"id":"5-1","log":"log","a":1}', (5 << 64) + 1, id="of this log"),
        pytest.param(b'{"id":"5-1","log":"other","a":1}', None, id="of another log"),
        pytest.param(b'{"id":"5-1","log":"","a":1}', None, id="of a log without a name"),
        pytest.param(b'{"id":"5-1","a":1}', None, id="of no log"),
        pytest.param(b'{"id":"5-1","a":1,"log":"log"}', None, id="the log is not beside it"),
        pytest.param(b'{"log":"log","id":"5-1","a":1}', None, id="the log comes first"),
        pytest.param(b'{"a":1,"id":"5-1","log":"log"}', None, id="not the first member"),
    ],
)
def test_only_an_id_of_this_log_is_a_position(payload: bytes, position: int | None) -> None:
    assert position_of(payload, b"log") == position


def test_before_the_log_is_known_no_id_is_a_position() -> None:
    assert position_of(b'{"id":"5-1","a":1}', b"") is None


def test_an_id_of_any_log_can_be_shown() -> None:
    assert position_of(b'{"id":"5-1","log":"other","a":1}', None) == (5 << 64) + 1
    assert position_of(b'{"id":"5-1","a":1}', None) is None


# Whatever comes


def as_json(value: object, indent: int | None, ascii_only: bool) -> bytes:
    return json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()


@settings(deadline=None)
@given(
    USER_IDS,
    EVENT_TYPES.filter(is_event_type),
    JSON_VALUES,
    st.none() | POSITIONS,
    st.sampled_from([None, 0, 2]),
    st.booleans(),
    st.booleans(),
)
def test_what_is_published_is_what_a_client_reads(
    user: str, event_type: str, value: object, position: int | None, indent: int | None,
    ascii_only: bool, event_names: bool,
) -> None:  # fmt: skip
    payload = encode_envelope(user, event_type, as_json(value, indent, ascii_only), broadcast=False)
    if position is not None:
        payload = insert_id(payload, format_position(position), b"log")
    envelope = decode_envelope(payload, len(payload))
    assert user_of(envelope) == user
    assert position_of(payload, b"log") == position
    frame = encode_frame(envelope, position_of(payload, b"log"), event_names=event_names)
    (event,) = parse_event_stream(frame).events
    members = value if isinstance(value, dict) else {"data": value}
    assert json.loads(event.data) == {"eventType": event_type, **members}
    assert event.type == (event_type if event_names else "message")
    assert event.last_event_id == ("" if position is None else format_position(position).decode())


@st.composite
def damaged_payloads(draw: st.DrawFn) -> bytes:
    """Draw a payload with a few bytes of it put in, left out or put in place of others."""
    payload = draw(
        st.builds(
            lambda user, event_type, value: (
                b'{"userId":%b,"eventType":%b,"data":%b}'
                % (as_json(user, None, True), as_json(event_type, None, True), value)
            ),
            JSON_VALUES | USER_IDS,
            JSON_VALUES | EVENT_TYPES,
            st.builds(as_json, JSON_VALUES, st.sampled_from([None, 1]), st.booleans()),
        )
    )
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(payload)))
        end = draw(st.integers(start, min(len(payload), start + 3)))
        new = draw(
            st.binary(max_size=3) | st.sampled_from([b"\n", b"\r", b"\0", b'"', b"\\", b"}"])
        )
        payload = payload[:start] + new + payload[end:]
    return payload


@settings(deadline=None, max_examples=150)
@given(st.binary() | damaged_payloads(), st.booleans())
@example(b'{"userId":"1","eventType":"t","data":"\n\ndata: forged\n\n"}', False)
@example(b'{"id":"5-1\\ndata: forged","userId":"1","eventType":"t","data":1}', True)
def test_any_payload_is_one_event_or_refused_with_a_reason(
    payload: bytes, event_names: bool
) -> None:
    reason, frame = "", b""
    try:
        envelope = decode_envelope(payload, MAX_BYTES)
        assert is_user_id(user_of(envelope))
        frame = encode_frame(envelope, position_of(payload, b"log"), event_names=event_names)
    except PublisherError as error:
        reason = error.reason
    if reason:
        assert reason in DROP_REASONS
        return
    (event,) = parse_event_stream(frame).events
    assert json.loads(event.data, parse_constant=pytest.fail)["eventType"]
    if event.last_event_id:
        assert parse_position(event.last_event_id) == position_of(payload, b"log")

"""JSON content of requests: what is taken, and what each refusal says."""

import contextlib
import json
from collections.abc import Mapping
from typing import Annotated

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sse_node.errors import RequestError
from sse_node.wire.http_head import Request
from sse_node.wire.json_body import decode_content
from tests.support.cpu_time import steps_of


class Item(msgspec.Struct, rename="camel"):
    item_name: Annotated[str, msgspec.Meta(min_length=1)]
    price: int | float = 0
    data: msgspec.Raw = msgspec.Raw(b"null")


DECODER = msgspec.json.Decoder(Item | list[Item])
ANY = msgspec.json.Decoder(msgspec.Raw)
JSON_HEADERS = {b"content-type": b"application/json"}


def request_of(content: bytes, headers: Mapping[bytes, bytes] = JSON_HEADERS) -> Request:
    return Request("POST", "/", "", headers, content)


def refusal_of(content: bytes, headers: Mapping[bytes, bytes] = JSON_HEADERS) -> RequestError:
    with pytest.raises(RequestError) as caught:
        decode_content(request_of(content, headers), DECODER)
    return caught.value


@pytest.mark.parametrize(
    ("content", "item"),
    [
        (b'{"itemName":"a"}', Item("a")),
        (b' {"price": 1.5,\r\n"itemName":"\xc3\xbc\\u0041"} ', Item("üA", 1.5)),
        (b'{"itemName":"a","unknown":{"itemName":"b"}}', Item("a")),
        (b'{"itemName":"a","price":' + b"1" * 300 + b"}", Item("a", int("1" * 300))),
    ],
    ids=["least", "blanks and escapes", "unknown member", "long number"],
)
def test_content_is_decoded(content: bytes, item: Item) -> None:
    assert decode_content(request_of(content), DECODER) == item


@pytest.mark.parametrize(
    "data", [b"1.0", b"1e3", b"-0", b'"\\u00fc\\/"', b'{ "b":1,\n"a":[] }', b"1" * 5000, b"1e999"]
)
def test_raw_data_keeps_its_bytes(data: bytes) -> None:
    content = b'{"itemName":"a","data":%b}' % data
    decoded = decode_content(request_of(content), DECODER)
    assert isinstance(decoded, Item)
    assert bytes(decoded.data) == data


@pytest.mark.parametrize(
    "headers",
    [
        {b"content-type": b"application/json; charset=utf-8"},
        {b"content-type": b'Application/JSON ;charset="UTF-8"'},
        {b"content-type": b"application/json;"},
        {b"content-type": b"application/json; version=1"},
        {b"content-type": b"application/json", b"content-encoding": b"Identity"},
    ],
)
def test_content_type_is_accepted(headers: Mapping[bytes, bytes]) -> None:
    assert decode_content(request_of(b'{"itemName":"a"}', headers), DECODER) == Item("a")


@pytest.mark.parametrize(
    ("headers", "detail", "answer_headers"),
    [
        ({}, "Content-Type '': expected application/json", ((b"Accept", b"application/json"),)),
        (
            {b"content-type": b"text/plain; charset=utf-8"},
            "Content-Type 'text/plain': expected application/json",
            ((b"Accept", b"application/json"),),
        ),
        (
            {b"content-type": b"application/json; charset=latin-1"},
            "Content-Type charset 'latin-1': expected utf-8",
            (),
        ),
        (
            {b"content-type": b"application/json", b"content-encoding": b"gzip"},
            "Content-Encoding 'gzip': expected none",
            ((b"Accept-Encoding", b"identity"),),
        ),
    ],
    ids=["no type", "other type", "other charset", "coding"],
)
def test_other_content_types_are_refused(
    headers: Mapping[bytes, bytes], detail: str, answer_headers: tuple[tuple[bytes, bytes], ...]
) -> None:
    refusal = refusal_of(b"{}", headers)
    assert (refusal.status, refusal.detail, refusal.headers) == (415, detail, answer_headers)


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        pytest.param(b"", "expected JSON", id="empty"),
        pytest.param(b'{"itemName":"a"', "expected JSON", id="cut off"),
        pytest.param(b'{"itemName":"a"}x', "expected JSON", id="something behind it"),
        pytest.param(b"\xef\xbb\xbf{}", "expected JSON", id="byte order mark"),
        pytest.param(b'{"itemName":"\xff"}', "content: byte 13 is not UTF-8", id="not UTF-8"),
        pytest.param('{"itemName":"a"}'.encode("utf-16"), "byte 0 is not UTF-8", id="UTF-16"),
        pytest.param(b'{"itemName":"\n"}', "expected JSON", id="line break in a string"),
        pytest.param(b'{"itemName":"\\ud800"}', "expected JSON", id="lone surrogate"),
        pytest.param(b'{"itemName":"a","data":"\\udc00x"}', "surrogate", id="lone one in raw data"),
        pytest.param(
            b'{"itemName":"a","price":NaN}',
            "content: NaN in member 'price' is not JSON; expected a finite number", id="NaN",
        ),
        pytest.param(
            b'[{"itemName":"a","data":{"x":[1,[-Infinity]]}}]',
            "content: -Infinity in member 'x' is not JSON", id="infinity in arrays",
        ),
        pytest.param(b"NaN", "expected JSON", id="NaN alone"),
        pytest.param(b"[Infinity]", "expected JSON", id="infinity in no member"),
        pytest.param(
            b'{"itemName":"a","itemName":"b"}',
            "content: member 'itemName' stands twice in an object", id="doubled member",
        ),
        pytest.param(
            b'{"itemName":"a","data":[{"\\u0061":1,"a":1}]}',
            "content: member 'a' stands twice in an object", id="doubled deep inside",
        ),
        pytest.param(b'{"itemName":"a","data":01}', "expected JSON", id="leading zero"),
        pytest.param(b"[" * 30_000, "content: nested too deep", id="arrays"),
        pytest.param(
            b'{"a":' * 13_000 + b"1" + b"}" * 13_000, "content: nested too deep", id="objects"
        ),
    ],
)  # fmt: skip
def test_what_is_not_strict_json_is_refused(content: bytes, detail: str) -> None:
    refusal = refusal_of(content)
    assert refusal.status == 400
    assert detail in refusal.detail
    assert len(refusal.detail) < 300


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        (b"{}", "content: itemName is missing"),
        (b'{"itemName":5}', "content: itemName: expected a string, got a number"),
        (b'{"itemName":""}', "content: itemName: expected a string with a length of at least 1"),
        (b'[{"itemName":"a"},{}]', "content: [1].itemName is missing"),
        (b'[{"itemName":null}]', "content: [0].itemName: expected a string, got null"),
        (b'{"itemName":"a","price":"1"}', "content: price: expected a number, got a string"),
        (b'{"itemName":"a","price":1e999}', "content: price: the number is out of range"),
        (
            b'{"itemName":"a","price":' + b"1" * 5000 + b"}",
            "content: price: the number is out of range",
        ),
        (b"5", "content: expected an object or an array, got a number"),
        (b'{"itemName":true}', "content: itemName: expected a string, got true or false"),
    ],
    ids=lambda value: value[:40],
)
def test_json_of_another_shape_is_refused_with_the_members_name(
    content: bytes, detail: str
) -> None:
    refusal = refusal_of(content)
    assert (refusal.status, refusal.detail) == (422, detail)


def test_long_names_do_not_make_long_refusals() -> None:
    name = b"x" * 60_000
    assert len(refusal_of(b'{"%b":1,"%b":1}' % (name, name)).detail) < 200
    assert len(refusal_of(b'{"%b":NaN}' % name).detail) < 200


@pytest.mark.parametrize(
    "content",
    [b"[" * 500 + b"1," * 30_000, b"9" * 65_536, b'{"a":[' + b"1," * 30_000 + b"1]}",
     b'{"a":{},"b":' * 800, b'"\\u0000' * 10_000],
    ids=["open arrays", "digits", "a long array", "open objects", "escapes"],
)  # fmt: skip
def test_no_content_costs_much_time(content: bytes) -> None:
    assert steps_of(lambda: refusal_of(content), enough=8) < 8  # the dearest takes 0.7


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children),
    max_leaves=10,
)


@settings(deadline=None, max_examples=200)
@given(JSON_VALUES.map(lambda value: json.dumps(value).encode()) | st.binary())
@example(b"-")
def test_any_content_is_taken_as_it_is_or_refused(content: bytes) -> None:
    try:
        taken = decode_content(request_of(content), ANY)
    except RequestError as error:
        assert error.status == 400  # noqa: PT017  (both ways are right)
    else:
        assert json.loads(bytes(taken), parse_constant=pytest.fail) == json.loads(content)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"[" + b"[]," * 350_000 + b"[]]", id="lists"),
        pytest.param(b"[" + b'{"a":1},' * 14_000 + b"1]", id="objects"),
        pytest.param(b"{" + b'"a":1,' * 20_000 + b'"b":1}', id="members"),
        pytest.param(b"[" + b"1," * 40_000 + b"1]", id="numbers"),
        pytest.param(b"[" + b'",",' * 50_000 + b"1]", id="strings"),
        pytest.param(b"[" + b'"\\"",' * 50_000 + b"1]", id="strings with escapes"),
        pytest.param(b"[" * 1_000_000, id="openings"),
    ],
)
def test_too_many_values_are_refused_unparsed(
    content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json, "loads", pytest.fail)
    refusal = refusal_of(content)
    assert refusal.status == 413
    assert refusal.detail == "content: expected at most 40000 JSON values and names"


MIB = 1024 * 1024
FILLED = {
    "escaped quotes": (b'"', b'\\"', b""),
    "escaped quotes and commas": (b'"', b',\\"', b'"'),
    "escaped backslashes": (b'"', b"\\\\", b'"'),
    "escaped backslashes and commas": (b'"', b"\\\\,", b""),
    "a backslash at the end": (b'"', b",", b"\\"),
    "commas in a string": (b'"', b",", b'"'),
    "quotes and escapes": (b"", b'"\\"', b"," * 50_000),
    "colons": (b"", b":", b""),
    "digits": (b"[", b"1", b"]"),
    "digits of a fraction": (b"[0.", b"3", b"]"),
    "code points": (b'"', b"\\ud83d\\ude00", b'"'),
    "blanks": (b"[", b" \n", b"]"),
    "openings": (b"", b"[", b""),
    "fractions": (b"[" + b"1.7976931348623157e308," * 39_998, b" ", b"1]"),
    "members": (b'{"data":{%b,"' % b",".join(b'"%d":1' % n for n in range(19_998)), b"x", b'":1}}'),
    "equal members": (b"{" + b'"a":1,' * 19_999, b" ", b'"a":1}'),
    "deep arrays": (b"[" + (b"[" * 600 + b"]" * 600 + b",") * 60, b" ", b"1]"),
    "NaN": (b'{"x":[' + b"NaN," * 39_990, b" ", b"1]}"),
    "members and NaN in a string": (
        b'{"NaN":{%b,"' % b",".join(b'"%d":1' % n for n in range(19_998)),
        b"x",
        b'":1}}',
    ),
    "NaN in deep arrays": (b'{"x":[%bNaN]}' % ((b"[" * 600 + b"]" * 600 + b",") * 60), b"", b""),
}


@pytest.mark.parametrize("name", FILLED)
def test_no_megabyte_holds_the_event_loop_for_long(name: str) -> None:
    start, unit, end = FILLED[name]
    content = start + unit * ((MIB - len(start) - len(end)) // max(1, len(unit))) + end

    def decode() -> None:
        with contextlib.suppress(RequestError):
            decode_content(request_of(content), ANY)

    assert steps_of(decode, enough=10) < 10  # the dearest takes 5


@pytest.mark.parametrize("text", [b",[{" * 300_000, b'\\",' * 200_000, b"\\\\" * 100_000])
def test_what_looks_like_values_in_a_string_is_text(text: bytes) -> None:
    content = b'{"itemName":"a","data":"' + text + b'"}'
    assert decode_content(request_of(content), DECODER) == Item(
        "a", data=msgspec.Raw(content[23:-1])
    )


def test_as_many_values_as_allowed_are_decoded() -> None:
    content = b"[" + b"1," * 39_998 + b"1]"
    assert decode_content(request_of(content), ANY) == msgspec.Raw(content)

"""Requests, responses, and what is refused of a request's head."""

import contextlib
import json
from collections.abc import Callable

import h11
import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sse_node.errors import RequestError
from sse_node.wire.http_head import (
    HEAD_END,
    MAX_HEAD_BYTES,
    Request,
    check_head,
    check_incomplete_head,
    decode_segment,
    encode_head,
    http_date,
    json_response,
    parse_head,
    problem_response,
)
from tests.support.cpu_time import steps_of


def head_of(*field_lines: bytes, request_line: bytes = b"GET / HTTP/1.1") -> bytes:
    return b"\r\n".join((request_line, *field_lines)) + HEAD_END


def refusal_of(head: bytes) -> tuple[int, str]:
    """Return status and detail with which a head is refused."""
    with pytest.raises(RequestError) as caught:
        parse_head(head)
    assert problem_response(caught.value).content
    return caught.value.status, caught.value.detail


# Heads that are accepted


def test_head_becomes_a_request() -> None:
    request = parse_head(
        b"POST /accounts/7?limit=5 HTTP/1.1\r\nHost: localhost:3000\r\ncontent-LENGTH:  2 \t\r\n"
        b"Accept: a\r\nX-Empty:\r\naccept: b\r\n\r\n"
    )
    assert request == Request(
        "POST",
        "/accounts/7",
        "limit=5",
        {
            b"host": b"localhost:3000",
            b"content-length": b"2",
            b"accept": b"a, b",
            b"x-empty": b"",
        },
        repeated=frozenset({b"accept"}),
    )


@pytest.mark.parametrize(
    ("request_line", "path", "query"),
    [
        (b"GET / HTTP/1.1", "/", ""),
        (b"GET /a?b?c HTTP/1.1", "/a", "b?c"),
        (b"GET /a? HTTP/1.1", "/a", ""),
        (b"GET /%ff/%2F?%00 HTTP/1.1", "/%ff/%2F", "%00"),
        (b"GET //h/a HTTP/1.1", "//h/a", ""),
        (b"GET http://h HTTP/1.1", "/", ""),
        (b"GET http://h:1/a?b HTTP/1.1", "/a", "b"),
        (b"GET HTTPS://u@h?b HTTP/1.1", "/", "b"),
        (b"OPTIONS * HTTP/1.1", "*", ""),
        (b"get / HTTP/1.1", "/", ""),
    ],
)
def test_request_target_is_taken_apart(request_line: bytes, path: str, query: str) -> None:
    request = parse_head(head_of(b"Host: h", request_line=request_line))
    assert (request.path, request.query) == (path, query)


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:3000", "127.0.0.1", "[::1]", "[::1]:3000", "a.b-c_d", "", "h:"],
)
def test_host_is_accepted(host: str) -> None:
    assert parse_head(head_of(b"Host: " + host.encode())).header(b"host") == host


@pytest.mark.parametrize(
    ("head", "has_content"),
    [
        (head_of(b"Host: h"), False),
        (head_of(request_line=b"GET / HTTP/1.0"), False),
        (head_of(b"Host: h", b"Content-Length: 0"), True),
        (head_of(b"Content-Length: 7", request_line=b"POST / HTTP/1.0"), True),
        (head_of(b"Host: h", b"Transfer-Encoding: Chunked"), True),
    ],
    ids=["none", "none in 1.0", "length 0", "length in 1.0", "chunked"],
)
def test_framing_says_whether_content_follows(head: bytes, has_content: bool) -> None:
    assert parse_head(head).has_content is has_content


def test_head_may_have_as_many_bytes_and_lines_as_allowed() -> None:
    line = b"X: " + b"a" * (MAX_HEAD_BYTES - len(head_of(b"Host: h", b"X: ")))
    head = head_of(b"Host: h", line)
    assert len(head) == MAX_HEAD_BYTES
    parse_head(head)
    check_incomplete_head(head)
    parse_head(head_of(b"Host: h", *[b"X: a"] * 99))


def test_header_is_text_or_none() -> None:
    request = parse_head(head_of(b"Host: h", b"X: \xfc"))
    assert request.header(b"x") == "ü"
    assert request.header(b"y") is None


# Heads that are refused


@pytest.mark.parametrize(
    ("head", "status", "detail"),
    [
        pytest.param(b"", 400, "request line", id="empty"),
        pytest.param(b"GET /\r\n\r\n", 400, "METHOD SP target SP", id="HTTP/0.9"),
        pytest.param(head_of(request_line=b"GET  / HTTP/1.1"), 400, "METHOD", id="two spaces"),
        pytest.param(head_of(request_line=b"GET\t/ HTTP/1.1"), 400, "METHOD", id="tab"),
        pytest.param(head_of(request_line=b" GET / HTTP/1.1"), 400, "METHOD", id="space before"),
        pytest.param(head_of(request_line=b"GET / HTTP/1.1 "), 400, "METHOD", id="space behind"),
        pytest.param(head_of(request_line=b"GET / a HTTP/1.1"), 400, "METHOD", id="space in it"),
        pytest.param(head_of(request_line=b"G(T / HTTP/1.1"), 400, "METHOD", id="no token"),
        pytest.param(head_of(request_line=b"M" * 33 + b" / HTTP/1.1"), 400, "METHOD", id="method"),
        pytest.param(head_of(request_line=b"GET /\xc3 HTTP/1.1"), 400, "METHOD", id="not ASCII"),
        pytest.param(head_of(request_line=b"GET /\0 HTTP/1.1"), 400, "METHOD", id="NUL in target"),
        pytest.param(head_of(request_line=b"GET / http/1.1"), 400, "METHOD", id="lower case"),
        pytest.param(head_of(request_line=b"GET / HTTP/11"), 400, "METHOD", id="no minor version"),
        pytest.param(head_of(request_line=b"GET / HTTP/1.2"), 505, "HTTP/1.1 or", id="HTTP/1.2"),
        pytest.param(head_of(request_line=b"GET / HTTP/9.9"), 505, "HTTP/1.1 or", id="HTTP/9.9"),
        pytest.param(head_of(request_line=b"PRI * HTTP/2.0"), 505, "HTTP/1.1 or", id="HTTP/2"),
        pytest.param(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", 400, "request line", id="TLS"),
        pytest.param(b"GET / HTTP/1.1\nHost: h\n\n", 400, "ends with LF", id="LF alone"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: h\nX: a\r\n\r\n", 400, "with LF", id="one LF"),
        pytest.param(b"GET / HTTP/1.1\rHost: h\r\n\r\n", 400, "METHOD", id="CR in request line"),
        pytest.param(head_of(b"Host: h", b"X: a\rb"), 400, "field line 2", id="CR in a value"),
        pytest.param(head_of(b"Host: h", b"X: a\0b"), 400, "field line 2", id="NUL in a value"),
        pytest.param(head_of(b"Host: h", b"X: a\x7f"), 400, "field line 2", id="DEL in a value"),
        pytest.param(head_of(b"Host: h", b" folded"), 400, "line 2: line folding", id="obs-fold"),
        pytest.param(head_of(b"\tHost: h"), 400, "line 1: line folding", id="tab before a name"),
        pytest.param(head_of(b"Host : h"), 400, "line 1: expected NAME", id="space before colon"),
        pytest.param(head_of(b"Host: h", b": a"), 400, "line 2: expected NAME", id="no name"),
        pytest.param(head_of(b"Host: h", b"X"), 400, "line 2: expected NAME", id="no colon"),
        pytest.param(head_of(b"Host: h", b"\xfc: a"), 400, "line 2: expected", id="name not ASCII"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: h", 400, "not well-formed", id="no end"),
        pytest.param(head_of(*[b"X: a"] * 101), 431, "at most 100 field lines", id="101 lines"),
        pytest.param(
            head_of(b"X: " + b"a" * MAX_HEAD_BYTES), 431, "at most 16384 bytes", id="too long"
        ),
        pytest.param(head_of(), 400, "Host: expected exactly one", id="no Host"),
        pytest.param(head_of(b"Host: h", b"host: h"), 400, "Host: expected", id="two Hosts"),
        pytest.param(
            head_of(b"Host: h", b"Host: h", request_line=b"GET / HTTP/1.0"), 400, "Host",
            id="two Hosts in 1.0",
        ),
        pytest.param(head_of(b"Host: a b"), 400, "Host: expected a host", id="space in Host"),
        pytest.param(head_of(b"Host: h/x"), 400, "Host: expected a host", id="path in Host"),
        pytest.param(head_of(b"Host: u@h"), 400, "Host: expected a host", id="user in Host"),
        pytest.param(head_of(b"Host: h:1a"), 400, "Host: expected a host", id="port of Host"),
        pytest.param(
            head_of(b"Host: h", b"Content-Length: 1", b"Transfer-Encoding: chunked"),
            400, "Content-Length and Transfer-Encoding: expected one", id="length and coding",
        ),
        pytest.param(
            head_of(b"Host: h", b"Content-Length: 1", b"Content-Length: 1"),
            400, "Content-Length: expected exactly one", id="two equal lengths",
        ),
        pytest.param(
            head_of(b"Host: h", b"Content-Length: 1", b"content-length: 2"),
            400, "Content-Length: expected exactly one", id="two lengths",
        ),
        pytest.param(
            head_of(b"Host: h", b"Content-Length: 1, 1"), 400, "one decimal", id="list of lengths"
        ),
        pytest.param(head_of(b"Host: h", b"Content-Length: +5"), 400, "decimal", id="plus sign"),
        pytest.param(head_of(b"Host: h", b"Content-Length: -1"), 400, "decimal", id="minus sign"),
        pytest.param(head_of(b"Host: h", b"Content-Length: 0x5"), 400, "decimal", id="hex"),
        pytest.param(head_of(b"Host: h", b"Content-Length: 1_0"), 400, "decimal", id="underscore"),
        pytest.param(head_of(b"Host: h", b"Content-Length:"), 400, "decimal", id="no length"),
        pytest.param(
            head_of(b"Host: h", b"Content-Length: " + b"9" * 19), 400, "decimal", id="endless"
        ),
        pytest.param(
            head_of(b"Host: h", b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
            400, "Transfer-Encoding: expected exactly one", id="chunked twice",
        ),
        pytest.param(
            head_of(b"Host: h", b"Transfer-Encoding: gzip, chunked"), 400, "other coding", id="gzip"
        ),
        pytest.param(
            head_of(b"Host: h", b"Transfer-Encoding: identity"), 400, "other coding", id="other"
        ),
        pytest.param(
            head_of(b"Host: h", b"Transfer-Encoding: x\x0bchunked"), 400, "line 2", id="VT"
        ),
        pytest.param(
            head_of(b"Transfer-Encoding: chunked", request_line=b"POST / HTTP/1.0"),
            400, "Transfer-Encoding: not part of HTTP/1.0", id="coding in 1.0",
        ),
        pytest.param(
            head_of(b"Host: h", request_line=b"GET * HTTP/1.1"), 400, "target", id="* of GET"
        ),
        pytest.param(
            head_of(b"Host: h", request_line=b"GET a HTTP/1.1"), 400, "request target", id="no path"
        ),
        pytest.param(
            head_of(b"Host: h", request_line=b"GET healthhttp://evil HTTP/1.1"),
            400, "request target", id="authority in the middle",
        ),
        pytest.param(
            head_of(b"Host: h", request_line=b"GET xhttp://h?y=1 HTTP/1.1"),
            400, "request target", id="scheme that ends in http",
        ),
        pytest.param(
            head_of(b"Host: h", request_line=b"GET /a#b HTTP/1.1"), 400, "target", id="fragment"
        ),
        pytest.param(
            head_of(b"Host: h", request_line=b"GET ftp://h/a HTTP/1.1"), 400, "target", id="ftp"
        ),
        pytest.param(
            head_of(b"Host: h", request_line=b"CONNECT h:80 HTTP/1.1"), 400, "target", id="CONNECT"
        ),
    ],
)  # fmt: skip
def test_head_is_refused(head: bytes, status: int, detail: str) -> None:
    got_status, got_detail = refusal_of(head)
    assert got_status == status
    assert detail in got_detail


@pytest.mark.parametrize(
    ("received", "status", "detail"),
    [
        (b"GET / HTTP/1.1\n", 400, "a line ends with LF"),
        (b"\n", 400, "a line ends with LF"),
        (b"\x16\x03\x01", 400, "a control character"),
        (b"GET / HTTP/1.1\r\nHost: \0", 400, "a control character"),
        (b"G" * (MAX_HEAD_BYTES + 1), 414, "less than 16384 bytes"),
    ],
)
def test_what_can_become_no_head_is_refused_early(
    received: bytes, status: int, detail: str
) -> None:
    with pytest.raises(RequestError, match=detail) as caught:
        check_incomplete_head(received)
    assert caught.value.status == status


@pytest.mark.parametrize("head", [head_of(b"Host: h", b"X:\ta\xff"), head_of(b"Host: h")])
def test_no_part_of_a_good_head_is_refused_early(head: bytes) -> None:
    for end in range(len(head)):
        check_incomplete_head(head[:end])


PATHOLOGICAL = {
    "one long method": b"A" * MAX_HEAD_BYTES,
    "one long target": b"GET " + b"/" * MAX_HEAD_BYTES,
    "many targets": b"GET " + b"/ " * MAX_HEAD_BYTES,
    "one long name": b"GET / HTTP/1.1\r\n" + b"a" * MAX_HEAD_BYTES,
    "many colons": b"GET / HTTP/1.1\r\n" + b"a:" * MAX_HEAD_BYTES,
    "a long value and a NUL": b"GET / HTTP/1.1\r\na:" + b" " * (MAX_HEAD_BYTES - 22) + b"\0",
    "short fields": b"GET / HTTP/1.1\r\n" + b"a:\r\n" * MAX_HEAD_BYTES,
    "99 names and a NUL": b"GET / HTTP/1.1\r\n" + (b"a" * 150 + b":\r\n") * 99 + b"\0",
    "carriage returns": b"GET / HTTP/1.1\r\n" + b"\r" * MAX_HEAD_BYTES,
    "empty lines": b"\r\n" * MAX_HEAD_BYTES,
    "line feeds": b"\n" * MAX_HEAD_BYTES,
    "a long Host": b"GET / HTTP/1.1\r\nHost: " + b"a" * (MAX_HEAD_BYTES - 30) + b'"',
    "an address": b"GET / HTTP/1.1\r\nHost: [" + b":" * (MAX_HEAD_BYTES - 30),
    "a long authority": b"GET http://" + b"a" * (MAX_HEAD_BYTES - 40) + b" HTTP/1.1\r\nHost: h",
    "one header 99 times": b"GET / HTTP/1.1\r\nHost: h" + (b"\r\na:" + b"b" * 150) * 99,
}


@pytest.mark.parametrize("head", PATHOLOGICAL.values(), ids=PATHOLOGICAL.keys())
def test_no_head_costs_much_time(head: bytes) -> None:
    head = head[: MAX_HEAD_BYTES - len(HEAD_END)] + HEAD_END
    for check in (parse_head, check_head, check_incomplete_head):

        def run(check: Callable[[bytes], object] = check) -> None:
            with contextlib.suppress(RequestError):
                check(head)

        assert steps_of(run, enough=3) < 3  # the dearest takes 0.3


# Whatever comes

LINES = st.lists(
    st.one_of(
        st.binary(max_size=30),
        st.sampled_from(
            [b"Host: h", b"Host: h:80", b"Content-Length: 5", b"Content-Length: 05", b"X: a",
             b"Transfer-Encoding: chunked", b"transfer-encoding:\tCHUNKED", b" folded", b"X:a\xff",
             b"Connection: close", b"Expect: 100-continue", b"X:", b"x : y", b"Y:\t\t"]
        ),
    ),
    max_size=6,
)  # fmt: skip
REQUEST_LINES = st.builds(
    b"%b %b %b".__mod__,
    st.tuples(
        st.sampled_from([b"GET", b"POST", b"OPTIONS", b"CONNECT", b"get"]) | st.binary(max_size=5),
        st.sampled_from([b"/", b"*", b"/a?b=c", b"http://h/a", b"h:80"]) | st.binary(max_size=10),
        st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0"]) | st.binary(max_size=8),
    ),
)
HEADS = st.builds(lambda first, lines: head_of(*lines, request_line=first), REQUEST_LINES, LINES)


@settings(deadline=None, max_examples=300)
@given(HEADS | st.binary())
@example(head_of(b"Host: h", b"X: \x80"))
def test_any_head_is_accepted_as_h11_reads_it_or_refused(head: bytes) -> None:
    try:
        request = parse_head(head)
    except RequestError as error:
        problem_response(error)
        return
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(head)
    theirs = connection.next_event()
    assert isinstance(theirs, h11.Request)
    assert request.method.encode() == theirs.method
    assert request.path == "*" or request.path.startswith("/")
    joined: dict[bytes, bytes] = {}
    for name, value in theirs.headers:
        separator = b"; " if name == b"cookie" else b", "
        joined[name] = joined[name] + separator + value if name in joined else value
    assert request.headers == joined
    assert connection.trailing_data[0] == b""


@given(st.binary())
def test_any_bytes_may_be_the_start_of_a_head_or_are_refused(received: bytes) -> None:
    try:
        check_incomplete_head(received)
    except RequestError as error:
        assert error.status in {400, 414, 431}  # noqa: PT017  (both ways are right)


# Query and path


@pytest.mark.parametrize(
    ("query", "parameters"),
    [
        ("", {}),
        ("a=1&b=2", {"a": ["1"], "b": ["2"]}),
        ("a=1&a=2", {"a": ["1", "2"]}),
        ("a=&b", {"a": [""], "b": [""]}),
        ("a=%C3%BC+%2B", {"a": ["ü +"]}),
        ("a=b=c", {"a": ["b=c"]}),
        ("a=1;b=2", {"a": ["1;b=2"]}),
        ("&&a=1&", {"a": ["1"]}),
        ("%zz=%", {"%zz": ["%"]}),
    ],
)
def test_query_is_taken_apart(query: str, parameters: dict[str, list[str]]) -> None:
    assert Request("GET", "/", query, {}).query_parameters() == parameters


def test_values_of_a_repeated_parameter_are_kept_in_order() -> None:
    request = Request("GET", "/", "a=2&b=3&a=1%2C5&a=", {})
    assert request.query_parameters() == {"a": ["2", "1,5", ""], "b": ["3"]}


@pytest.mark.parametrize("query", ["a=%ff", "%ed%a0%80=1", "&".join("abcdefghijklmnop") * 5])
def test_query_is_refused(query: str) -> None:
    with pytest.raises(RequestError, match="query: expected at most 64 parameters") as caught:
        Request("GET", "/", query, {}).query_parameters()
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("segment", "text"),
    [("a", "a"), ("a%40b", "a@b"), ("%C3%BC", "ü"), ("%2F%00", "/\0"), ("%zz", "%zz"), ("+", "+")],
)
def test_segment_is_decoded(segment: str, text: str) -> None:
    assert decode_segment(segment) == text


def test_segment_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(RequestError, match="expected percent-encoded UTF-8") as caught:
        decode_segment("%ff")
    assert caught.value.status == 400


# Responses


def test_response_head() -> None:
    headers = [(b"Content-Type", b"text/plain"), (b"X", b"")]
    assert (
        encode_head(200, headers) == b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX: \r\n\r\n"
    )
    assert encode_head(204, ()) == b"HTTP/1.1 204 No Content\r\n\r\n"


@pytest.mark.parametrize(
    ("unix_s", "date"),
    [(0, b"Thu, 01 Jan 1970 00:00:00 GMT"), (1763900000, b"Sun, 23 Nov 2025 12:13:20 GMT")],
)
def test_date_of_a_response(unix_s: int, date: bytes) -> None:
    assert http_date(unix_s) == date


def test_json_response() -> None:
    response = json_response(201, {"a": msgspec.Raw(b"1.0")}, ((b"Location", b"/a"),))
    assert response.status == 201
    assert response.content == b'{"a":1.0}'
    assert response.headers == (
        (b"Content-Type", b"application/json; charset=utf-8"),
        (b"Cache-Control", b"no-store"),
        (b"Location", b"/a"),
    )


@pytest.mark.parametrize(
    ("status", "phrase"),
    [
        (400, "Bad Request"),
        (413, "Content Too Large"),
        (414, "URI Too Long"),
        (417, "Expectation Failed"),
        (422, "Unprocessable Content"),
        (503, "Service Unavailable"),
    ],
)
def test_problem_response(status: int, phrase: str) -> None:
    response = problem_response(RequestError(status, 'no "a" ü', ((b"Allow", b"GET"),)))
    assert response.status == status
    assert response.headers == (
        (b"Content-Type", b"application/problem+json"),
        (b"Cache-Control", b"no-store"),
        (b"Allow", b"GET"),
    )
    assert json.loads(response.content) == {
        "type": "about:blank",
        "title": phrase,
        "status": status,
        "detail": 'no "a" ü',
    }

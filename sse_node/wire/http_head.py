"""HTTP/1.1 values: requests, responses, and the strict check of a request's head (RFC 9110, 9112).

h11 frames messages but is not a hardened parser: it accepts obs-fold, bare LF, control characters
and ambiguous framing. `check_head` refuses those on the raw bytes before h11 sees them.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs, unquote

import msgspec

from sse_node.errors import RequestError
from sse_node.wire.identity import ANYONE, Identity

Headers = Sequence[tuple[bytes, bytes]]

HEAD_END: Final = b"\r\n\r\n"
_HEAD_END_BYTES: Final = len(HEAD_END)
# nginx takes 32 KiB (4 x 8k) and Node.js 16 KiB; browsers send below 4 KiB without cookies.
MAX_HEAD_BYTES: Final = 16 * 1024
NO_STORE: Final = (b"Cache-Control", b"no-store")
_MAX_FIELD_LINES: Final = 100
# A stream may name 50 channels in a parameter each. Arbitrary otherwise.
_MAX_PARAMETERS: Final = 64
# RFC 9110 §15.5; Python has had them since 3.13.
_NEWER_PHRASES: Final = {
    413: "Content Too Large",
    414: "URI Too Long",
    422: "Unprocessable Content",
}

# RFC 9110 §5.6.2 token, §5.5 field values, RFC 9112 §3 request line. Possessive, hence linear.
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
FIELD_LINE: Final = re.compile(_TOKEN + rb"++:[^\x00-\x08\x0a-\x1f\x7f]*+")
_REQUEST_LINE = re.compile(_TOKEN + rb"{1,32}+ [\x21-\x7e]++ HTTP/(\d)\.(\d)")
# Groups: method, path, query, a target of another form, version.
_HEAD = re.compile(
    rb"(%b{1,32}+) (?:(/[!\"$->@-~]*+)(?:\?([!\"$-~]*+))?|([!-~]++)) (HTTP/1\.[01])\r\n"
    rb"(?:%b\r\n){0,%d}+\r\n" % (_TOKEN, FIELD_LINE.pattern, _MAX_FIELD_LINES)
)
# Of a head that has been checked: its only white space is spaces and tabs.
_FIELDS = re.compile(rb"\r\n([^:\r\n]++):([^\r\n]*+)")
_EMPTY_LINES = re.compile(rb"(?:\r\n)++")
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~%!$&'()*+,;=]*)(?::\d{0,5})?")
_NEVER_IN_A_HEAD = re.compile(rb"(?<!\r)\n|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_ONCE = frozenset({b"host", b"content-length", b"transfer-encoding"})
_DIGITS = re.compile(rb"\d{1,18}")
_AUTHORITY = re.compile(rb"https?://[^/?#]*", re.IGNORECASE)
_NO_NAMES: Final[frozenset[bytes]] = frozenset()


class Request(msgspec.Struct):
    """One request; `content` is filled when all of it has arrived.

    `headers` has lower-case names; the values of repeated headers are joined by `, `
    (RFC 9110 §5.3), those of Cookie by `; ` (RFC 9113 §8.2.3); `repeated` has the names
    of all these. `path` is still percent-encoded, `path_parameters` are decoded. `peer` is the
    address at the other end of the connection, empty for a Unix socket and where nothing needs it;
    `is_admin` marks a request on the listener of operators. `client` is what limits count the
    client's address as, empty where none is counted; `rate_limit` goes into the response.
    """

    method: str
    path: str
    query: str
    headers: Mapping[bytes, bytes]
    content: bytes = b""
    path_parameters: Mapping[str, str] = msgspec.field(default_factory=dict)
    repeated: frozenset[bytes] = _NO_NAMES
    peer: str = ""
    identity: Identity = ANYONE
    is_admin: bool = False
    client: str = ""
    rate_limit: Headers = ()

    @property
    def has_content(self) -> bool:
        """Whether content follows the head (RFC 9112 §6)."""
        return b"content-length" in self.headers or b"transfer-encoding" in self.headers

    def header(self, name: bytes) -> str | None:
        """Return the value of a header as ISO-8859-1 text, None when it is absent."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    def query_parameters(self) -> dict[str, list[str]]:
        """Return the query's parameters, each with its values in order.

        Raises:
            RequestError: 400, a parameter is not percent-encoded UTF-8, or there are too many.
        """
        if not self.query:
            return {}
        try:
            return parse_qs(
                self.query, keep_blank_values=True, errors="strict", max_num_fields=_MAX_PARAMETERS
            )
        except ValueError as exc:
            raise RequestError(
                400,
                f"query: expected at most {_MAX_PARAMETERS} parameters of percent-encoded UTF-8",
            ) from exc


class Response(msgspec.Struct):
    """One response with its whole content; the connection adds framing and general headers."""

    status: int
    headers: Headers = ()
    content: bytes = b""


def decode_segment(segment: str) -> str:
    """Return a path segment percent-decoded.

    Raises:
        RequestError: 400, it is not percent-encoded UTF-8.
    """
    if "%" not in segment:
        return segment
    try:
        return unquote(segment, errors="strict")
    except UnicodeDecodeError as exc:
        raise RequestError(400, "request target: expected percent-encoded UTF-8") from exc


def json_response(status: int, value: object, headers: Headers = ()) -> Response:
    """Return a response whose content is `value` as JSON (`msgspec.Raw` passes through).

    No cache may store it: it is personal, or true for a moment only.
    """
    return Response(
        status,
        ((b"Content-Type", b"application/json; charset=utf-8"), NO_STORE, *headers),
        msgspec.json.encode(value),
    )


def reason_phrase(status: int) -> str:
    """Return a status' reason phrase as in RFC 9110, whatever the Python version."""
    return _NEWER_PHRASES.get(status) or HTTPStatus(status).phrase


def problem_response(error: RequestError) -> Response:
    """Return the problem+json response (RFC 9457) of an error."""
    content = {
        "type": "about:blank",
        "title": reason_phrase(error.status),
        "status": error.status,
        "detail": error.detail,
    }
    return Response(
        error.status,
        ((b"Content-Type", b"application/problem+json"), NO_STORE, *error.headers),
        msgspec.json.encode(content),
    )


def take_head(received: bytearray, checked: int = 0) -> bytes:
    """Take the first head out of `received`; empty when it is not complete.

    Args:
        received: from the beginning of a head; empty lines before it are removed (RFC 9112 §2.2).
        checked: how many bytes of an incomplete head were checked before.

    Raises:
        RequestError: 400, 414 or 431, it is not complete and never will be well-formed.
    """
    if (empty_lines := _EMPTY_LINES.match(received)) is not None:
        del received[: empty_lines.end()]
        checked = 0
    end = received.find(HEAD_END, max(0, checked - _HEAD_END_BYTES))
    if end < 0:
        check_incomplete_head(received, checked)
        return b""
    end += _HEAD_END_BYTES
    head = bytes(received[:end])
    del received[:end]
    return head


def check_incomplete_head(received: bytes | bytearray, checked: int = 0) -> None:
    """Reject an incomplete head at its first illegal byte.

    Args:
        received: what there is of the head.
        checked: how many of its bytes were checked before.

    Raises:
        RequestError: 400, 414 or 431.
    """
    spoilt = _NEVER_IN_A_HEAD.search(received, checked, MAX_HEAD_BYTES)
    if spoilt is not None and spoilt[0] == b"\n":
        raise RequestError(400, "request head: a line ends with LF; expected CR LF")
    if spoilt is not None:
        number = received.count(b"\r\n", 0, spoilt.start())
        line = f"field line {number}" if number else "request line"
        expected = "NAME: VALUE" if number else "METHOD SP target SP HTTP/1.1"
        raise RequestError(400, f"{line}: it holds a control character; expected {expected}")
    if len(received) > MAX_HEAD_BYTES and received.find(b"\r\n", 0, MAX_HEAD_BYTES) < 0:
        raise RequestError(414, f"request line: expected less than {MAX_HEAD_BYTES} bytes")
    if len(received) > MAX_HEAD_BYTES:
        raise RequestError(431, f"request head: expected at most {MAX_HEAD_BYTES} bytes")


def check_head(head: bytes) -> re.Match[bytes]:
    """Reject a head that is not plain RFC 9112; return the parts of its request line.

    Args:
        head: the request line and field lines up to and including the empty line.

    Raises:
        RequestError: 400, 414, 431 or 505, with the first thing wrong in it.
    """
    match = _HEAD.fullmatch(head) if len(head) <= MAX_HEAD_BYTES else None
    if match is None:
        check_incomplete_head(head)  # first, so that it is no matter in what pieces a head comes
        raise _what_is_wrong(head)
    return match


def _what_is_wrong(head: bytes) -> RequestError:
    request_line, *field_lines = head.removesuffix(HEAD_END).split(b"\r\n")
    match = _REQUEST_LINE.fullmatch(request_line)
    if match is None:
        return RequestError(400, "request line: expected METHOD SP target SP HTTP/1.1")
    if match[1] != b"1" or match[2] not in b"01":
        return RequestError(505, "request line: expected HTTP/1.1 or HTTP/1.0")
    if len(field_lines) > _MAX_FIELD_LINES:
        return RequestError(431, f"request head: expected at most {_MAX_FIELD_LINES} field lines")
    for number, line in enumerate(field_lines, 1):
        if line[:1] in {b" ", b"\t"}:
            return RequestError(400, f"field line {number}: line folding is not accepted")
        if FIELD_LINE.fullmatch(line) is None:
            return RequestError(400, f"field line {number}: expected NAME: VALUE")
    return RequestError(400, "request head: not well-formed")


def parse_head(head: bytes) -> Request:
    """Return the request of a head, without its content.

    Args:
        head: the request line and field lines up to and including the empty line.

    Raises:
        RequestError: 400, 414, 417, 431 or 505, with the first thing wrong in it.
    """
    method, path, query, other, version = check_head(head).groups()
    if path is None:
        path, query = _parse_target(method, other)
    fields = _FIELDS.findall(head)
    headers = {name.lower(): value.strip() for name, value in fields}
    repeated = _NO_NAMES
    if len(headers) < len(fields):
        headers, repeated = _join_repeated(fields)
    _check_framing(version, headers)
    expectation = headers.get(b"expect")
    if expectation is not None and (
        version == b"HTTP/1.1" and expectation.lower() != b"100-continue"
    ):
        raise RequestError(417, "Expect: expected 100-continue")
    return Request(
        method.decode(), path.decode(), query.decode() if query else "", headers, repeated=repeated
    )


def _join_repeated(
    fields: Iterable[tuple[bytes, bytes]],
) -> tuple[dict[bytes, bytes], frozenset[bytes]]:
    """Return the headers of field lines, and the names of those that come more than once."""
    headers: dict[bytes, bytes] = {}
    repeated = set()
    for field_name, field_value in fields:
        name, value = field_name.lower(), field_value.strip()
        if name in headers:
            if name in _ONCE:
                raise RequestError(400, f"{name.decode().title()}: expected exactly one")
            repeated.add(name)
            value = headers[name] + (b"; " if name == b"cookie" else b", ") + value
        headers[name] = value
    return headers, frozenset(repeated)


def _check_framing(version: bytes, headers: Mapping[bytes, bytes]) -> None:
    """Reject ambiguous framing (RFC 9112 §6.3) and a missing Host (§3.2)."""
    host = headers.get(b"host")
    if host is None and version == b"HTTP/1.1":
        raise RequestError(400, "Host: expected exactly one")
    if host is not None and _HOST.fullmatch(host) is None:
        raise RequestError(400, "Host: expected a host name or address with an optional port")
    length, coding = headers.get(b"content-length"), headers.get(b"transfer-encoding")
    if length is None and coding is None:
        return
    if length is not None and coding is not None:
        raise RequestError(400, "Content-Length and Transfer-Encoding: expected one of them")
    if length is not None and _DIGITS.fullmatch(length) is None:
        raise RequestError(400, "Content-Length: expected one decimal number")
    if coding is not None and version == b"HTTP/1.0":
        raise RequestError(400, "Transfer-Encoding: not part of HTTP/1.0")
    if coding is not None and coding.lower() != b"chunked":
        raise RequestError(400, "Transfer-Encoding: expected chunked and no other coding")


def _parse_target(method: bytes, target: bytes) -> tuple[bytes, bytes]:
    """Return path and query of a request target in absolute or asterisk form."""
    if target == b"*" and method == b"OPTIONS":
        return target, b""
    authority = _AUTHORITY.match(target)
    if authority is None or b"#" in target:
        raise RequestError(400, "request target: expected a path, e.g. /health")
    path, _, query = target[authority.end() :].partition(b"?")
    return b"/" + path.removeprefix(b"/"), query


@lru_cache(2)
def http_date(unix_s: int) -> bytes:
    """Return the value of a Date header (RFC 9110 §5.6.7); remembered for the present second."""
    return formatdate(unix_s, usegmt=True).encode()


def encode_head(status: int, headers: Headers) -> bytes:
    """Return a response head, from the status line to the empty line."""
    lines = [b"HTTP/1.1 %d %b" % (status, reason_phrase(status).encode())]
    lines += [b"%b: %b" % header for header in headers]
    return b"\r\n".join(lines) + HEAD_END

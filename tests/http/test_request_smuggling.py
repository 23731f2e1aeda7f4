"""What two HTTP implementations might read differently is refused: one answer, then the end.

Every case is sent whole, in single bytes, and with a further request behind it that must never be
answered. Anything a proxy before the node let through must not be able to hide a request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import pytest

from tests.support.door import HEAD_TIMEOUT_S, Client, Door
from tests.support.fakes import FAKE_CLOCK, pieces_of, settle

if TYPE_CHECKING:
    from tests.support.fakes import FakeClockLoop

    Connect = Callable[[], Client]

pytestmark = FAKE_CLOCK

HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"


def head(*lines: bytes, request_line: bytes = b"POST /echo HTTP/1.1") -> bytes:
    return b"\r\n".join((request_line, b"Host: a", *lines, b"", b""))


def chunked(*rest: bytes) -> bytes:
    return head(b"Transfer-Encoding: chunked") + b"".join(rest)


def case(name: str, data: bytes, status: int, detail: str) -> object:
    return pytest.param(data, status, detail, id=name)


CLIENT_HELLO = bytes.fromhex(
    "16030100c8010000c40303d2a1c4b2d6f0e1a3958b7c6d5e4f30211203142536475869"
    "7a8b9cadbecf20e1f2a3b4c5d6e7f80918273645546372819fa0b1c2d3e4f5061728"
)

FRAMING: Iterable[object] = (
    case(
        "Content-Length and Transfer-Encoding",
        head(b"Content-Length: 5", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
        400,
        "Content-Length and Transfer-Encoding: expected one of them",
    ),
    case(
        "Transfer-Encoding and Content-Length",
        head(b"Transfer-Encoding: chunked", b"Content-Length: 5") + b"0\r\n\r\n",
        400,
        "Content-Length and Transfer-Encoding: expected one of them",
    ),
    case(
        "two different Content-Lengths",
        head(b"Content-Length: 5", b"Content-Length: 6") + b"hello",
        400,
        "Content-Length: expected exactly one",
    ),
    case(
        "two equal Content-Lengths",
        head(b"Content-Length: 5", b"content-length: 5") + b"hello",
        400,
        "Content-Length: expected exactly one",
    ),
    *(
        case(
            f"Content-Length {value.decode('latin-1')!r}",
            head(b"Content-Length: " + value) + b"hello",
            400,
            "Content-Length: expected one decimal number",
        )
        for value in (
            *(b"5, 5", b"5,6", b"-5", b"+5", b"", b"5 5", b"0x5", b"5.0", b"5;", b"1e1", b"five"),
            *(b"\xb2", b"\xef\xbc\x95", b"9" * 19, b"9" * 100),
        )
    ),
    case(
        "a Content-Length of 18 digits",
        head(b"Content-Length: " + b"9" * 18) + b"hello",
        413,
        "content: expected at most 65536 bytes",
    ),
    case(
        "chunked twice",
        head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
        400,
        "Transfer-Encoding: expected exactly one",
    ),
    *(
        case(
            f"Transfer-Encoding {value.decode('latin-1')!r}",
            head(b"Transfer-Encoding: " + value) + b"0\r\n\r\n",
            400,
            "Transfer-Encoding: expected chunked and no other coding",
        )
        for value in (
            *(b"gzip, chunked", b"chunked, chunked", b"chunked, identity", b"identity", b"gzip"),
            *(b"xchunked", b"chunked;q=1", b'"chunked"', b"", b"chunked ,", b"chun\xebked"),
        )
    ),
    case(
        "chunked in HTTP/1.0",
        head(b"Transfer-Encoding: chunked", request_line=b"POST /echo HTTP/1.0") + b"0\r\n\r\n",
        400,
        "Transfer-Encoding: not part of HTTP/1.0",
    ),
)

EXPECTATIONS: Iterable[object] = (
    case("an expectation that is unknown", head(b"Expect: magic"), 417, "Expect: expected 100-"),
    case("an expectation that is empty", head(b"Expect:"), 417, "Expect: expected 100-continue"),
    case(
        "one expectation that is known",
        head(b"Expect: 100-continue, magic", b"Content-Length: 5") + b"hello",
        417,
        "Expect: expected 100-continue",
    ),
)

SIZE = "chunk: expected its size in hexadecimal digits"
END = "chunk: expected CR LF after as many bytes as its size"
TRAILER = "trailer: expected NAME: VALUE"
CHUNKS: Iterable[object] = (
    case("no chunk size", chunked(b"\r\n\r\n"), 400, SIZE),
    case("a negative chunk size", chunked(b"-1\r\nx\r\n"), 400, SIZE),
    case("a chunk size with a sign", chunked(b"+1\r\nx\r\n"), 400, SIZE),
    case("a chunk size with a prefix", chunked(b"0x1\r\nx\r\n"), 400, SIZE),
    case("a chunk size with an underscore", chunked(b"1_0\r\n" + b"x" * 16), 400, SIZE),
    case("a chunk size with a blank before it", chunked(b" 1\r\nx\r\n"), 400, SIZE),
    case("a chunk size with a blank after it", chunked(b"1 \r\nx\r\n"), 400, SIZE),
    case("a chunk size of 17 digits", chunked(b"00000000000000001\r\nx\r\n"), 400, SIZE),
    case("a chunk size that ends with LF", chunked(b"1\nx\r\n0\r\n\r\n"), 400, SIZE),
    case("a chunk size that ends with CR", chunked(b"1\rx\r\n0\r\n\r\n"), 400, SIZE),
    case("a chunk longer than its size", chunked(b"1\r\nxy\r\n0\r\n\r\n"), 400, END),
    case("a chunk that ends with LF", chunked(b"1\r\nx\n0\r\n\r\n"), 400, END),
    case("a chunk that ends with CR", chunked(b"1\r\nx\r0\r\n\r\n"), 400, END),
    case("a huge chunk", chunked(b"f" * 16 + b"\r\n"), 413, "at most 65536 bytes"),
    case("a chunk over the cap", chunked(b"10001\r\n"), 413, "at most 65536 bytes"),
    case(
        "chunks over the cap", chunked(b"8000\r\n%b\r\n" % (b"x" * 32768) * 3), 413, "at most 65536"
    ),
    case("NUL in an extension", chunked(b"1;\0\r\nx\r\n0\r\n\r\n"), 400, SIZE),
    case("LF in an extension", chunked(b"1;a\nb\r\nx\r\n0\r\n\r\n"), 400, SIZE),
    case("CR in an extension", chunked(b"1;a\rb\r\nx\r\n0\r\n\r\n"), 400, SIZE),
    case(
        "an endless extension", chunked(b"1;" + b"e" * 17_000), 413, "may add at most 16384 bytes"
    ),
    case("endless chunks of a byte", chunked(b"1\r\nx\r\n" * 8000), 413, "may add at most 16384"),
    case("endless trailers", chunked(b"0\r\n" + b"X: y\r\n" * 5000), 413, "may add at most 16384"),
    case("a trailer that is none", chunked(b"0\r\nno field\r\n\r\n"), 400, TRAILER),
    case("a blank before a trailer's colon", chunked(b"0\r\nX : y\r\n\r\n"), 400, TRAILER),
    case("a folded trailer", chunked(b"0\r\nX: y\r\n z\r\n\r\n"), 400, TRAILER),
    case("a trailer that ends with LF", chunked(b"0\r\nX: y\n\n"), 400, TRAILER),
    case("LF as the empty line", chunked(b"0\r\n\n"), 400, TRAILER),
    case("NUL in a trailer", chunked(b"0\r\nX: \0\r\n\r\n"), 400, TRAILER),
)

LINES: Iterable[object] = (
    case("obs-fold", head(b"X-A: b", b" c"), 400, "field line 3: line folding is not accepted"),
    case("obs-fold by a tab", head(b"X-A: b", b"\tc"), 400, "field line 3: line folding"),
    case(
        "a folded Content-Length",
        head(b"Content-Length:", b" 5") + b"hello",
        400,
        "field line 3: line folding",
    ),
    case("a blank before the first field", head().replace(b"Host", b" Host"), 400, "field line 1"),
    case("a blank before a colon", head(b"Content-Length : 5") + b"hello", 400, "field line 2"),
    case("a tab before a colon", head(b"Content-Length\t: 5") + b"hello", 400, "field line 2"),
    case("no colon", head(b"Content-Length 5") + b"hello", 400, "field line 2: expected NAME"),
    case("no name", head(b": 5"), 400, "field line 2: expected NAME: VALUE"),
    case("a name in quotes", head(b'"X": 5'), 400, "field line 2: expected NAME: VALUE"),
    case("a name that is not ASCII", head(b"X-\xe9: 5"), 400, "field line 2: expected NAME: VALUE"),
    case("bare LF after the request line", head().replace(b"1.1\r\n", b"1.1\n"), 400, "LF"),
    case("bare LF after a field", head(b"X: y").replace(b"a\r\n", b"a\n"), 400, "ends with LF"),
    case("bare LF only", head().replace(b"\r\n", b"\n"), 400, "a line ends with LF"),
    case("LF CR", head().replace(b"\r\n", b"\n\r"), 400, "a line ends with LF"),
    case("bare LF at the start", b"\n" + head(), 400, "a line ends with LF"),
    case("bare LF as the empty line", head(b"X: y")[:-2] + b"\n", 400, "a line ends with LF"),
    case("bare CR in a value", head(b"X-A: b\rContent-Length: 5"), 400, "field line 2"),
    case("bare CR at a value's end", head(b"X-A: b\r"), 400, "field line 2"),
    case("bare CR in a name", head(b"X\r-A: b"), 400, "field line 2"),
    case("bare CR in the request line", head(request_line=b"GET\r/ HTTP/1.1"), 400, "request line"),
    *(
        case(f"byte {byte} in a value", head(b"X: a%cb" % byte), 400, "a control character")
        for byte in (*range(9), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F)
    ),
    *(
        case(f"byte {byte} in a name", head(b"X%cY: a" % byte), 400, "field line 2")
        for byte in (
            *range(9),
            *range(0x0B, 0x0D),
            *range(0x0E, 0x20),
            *b'"(),/;<=>?@[\\]{}\x7f\x80',
        )
    ),
    case("NUL in the target", head(request_line=b"GET /\0 HTTP/1.1"), 400, "request line"),
    case("a head of 17 KiB", head(b"X: " + b"x" * 17_000), 431, "at most 16384 bytes"),
    case("17 KiB of a request line", b"GET /" + b"x" * 17_000, 414, "less than 16384 bytes"),
    case("101 field lines", head(*[b"X: y"] * 100), 431, "at most 100 field lines"),
)

REQUEST_LINES: Iterable[object] = (
    case("HTTP/0.9", b"GET /\r\n\r\n", 400, "expected METHOD SP target SP HTTP/1.1"),
    *(
        case(
            f"{version}", head(request_line=b"GET / " + version.encode()), 505, "expected HTTP/1.1"
        )
        for version in ("HTTP/9.9", "HTTP/2.0", "HTTP/1.2", "HTTP/0.9", "HTTP/3.0")
    ),
    *(
        case(
            f"{version!r}", head(request_line=b"GET / " + version.encode()), 400, "expected METHOD"
        )
        for version in ("HTTP/1", "HTTP/1.10", "http/1.1", "HTTP/1,1", "HTTPS/1.1", "HTTP/1.1 ", "")
    ),
    case("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "expected HTTP/1.1 or HTTP/1.0"),
    case("TLS", CLIENT_HELLO, 400, "request line: it holds a control character"),
    case("SSH", b"SSH-2.0-OpenSSH_9.6\r\n\r\n", 400, "expected METHOD SP target SP HTTP/1.1"),
    case("Redis", b"*1\r\n$4\r\nPING\r\n\r\n", 400, "expected METHOD SP target SP HTTP/1.1"),
    case("two blanks", head(request_line=b"GET  / HTTP/1.1"), 400, "expected METHOD"),
    case("a blank at the start", head(request_line=b" GET / HTTP/1.1"), 400, "expected METHOD"),
    case("a tab", head(request_line=b"GET\t/ HTTP/1.1"), 400, "expected METHOD"),
    case("a blank in the target", head(request_line=b"GET /a b HTTP/1.1"), 400, "expected METHOD"),
    case("no target", head(request_line=b"GET HTTP/1.1"), 400, "expected METHOD"),
    case("a method that is no token", head(request_line=b"G@T / HTTP/1.1"), 400, "expected METHOD"),
    case("a long method", head(request_line=b"G" * 33 + b" / HTTP/1.1"), 400, "expected METHOD"),
    case("a target not ASCII", head(request_line=b"GET /\xe9 HTTP/1.1"), 400, "expected METHOD"),
    case("a fragment", head(request_line=b"GET /a#b HTTP/1.1"), 400, "expected a path"),
    case("no slash", head(request_line=b"GET a HTTP/1.1"), 400, "expected a path"),
    case("asterisk", head(request_line=b"GET * HTTP/1.1"), 400, "expected a path"),
    case("CONNECT", head(request_line=b"CONNECT a:80 HTTP/1.1"), 400, "expected a path"),
    case("another scheme", head(request_line=b"GET ftp://a/ HTTP/1.1"), 400, "expected a path"),
    case("no Host", b"GET / HTTP/1.1\r\nX: y\r\n\r\n", 400, "Host: expected exactly one"),
    case("two Hosts", head(b"Host: b"), 400, "Host: expected exactly one"),
    case("two equal Hosts", head(b"host: a"), 400, "Host: expected exactly one"),
    *(
        case(
            f"Host {value!r}",
            b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % value,
            400,
            "Host: expected a host name",
        )
        for value in (b"a b", b"a, b", b"a/b", b"a@b", b"a:b", b"a:1:2", b"[::1", b"a?b", b"a\xe9")
    ),
)

CASES = (*FRAMING, *EXPECTATIONS, *CHUNKS, *LINES, *REQUEST_LINES)


@pytest.mark.parametrize(("data", "status", "detail"), CASES)
@pytest.mark.parametrize("in_pieces", [False, True], ids=["whole", "byte by byte"])
async def test_it_is_refused_once_and_the_connection_ends(
    connect: Connect, door: Door, data: bytes, status: int, detail: str, in_pieces: bool
) -> None:
    client = connect()
    client.send(*(pieces_of(data + HIDDEN) if in_pieces else [data + HIDDEN]))
    await settle()
    client.send(HIDDEN)
    await settle()
    reply = client.reply()
    assert reply.status == status
    assert detail in reply.problem
    assert reply.headers["connection"] == "close"
    assert client.is_closed()
    assert door.requests == []


@pytest.mark.parametrize(("data", "status", "detail"), CASES)
async def test_a_request_before_it_is_answered(
    connect: Connect, door: Door, data: bytes, status: int, detail: str
) -> None:
    client = connect()
    client.send(b"GET /echo HTTP/1.1\r\nHost: a\r\n\r\n" + data + HIDDEN)
    await settle()
    good, refused = client.replies()
    assert (good.status, refused.status) == (200, status)
    assert detail in refused.problem
    assert client.is_closed()
    assert len(door.requests) == 1


async def test_half_an_old_request_is_refused_when_its_time_is_over(
    connect: Connect, door: Door, clock: FakeClockLoop
) -> None:
    client = connect()
    client.send(b"GET /\r\n")
    assert client.read() == b""
    clock.advance(HEAD_TIMEOUT_S)
    door.site.close_overdue(clock.time())
    assert client.reply().status == 408
    assert client.is_closed()


@pytest.mark.parametrize(
    ("data", "content"),
    [
        pytest.param(
            b"get / HTTP/1.1\r\nHost: a\r\n\r\n", b"get /? ", id="a method is compared as it is"
        ),
        pytest.param(
            chunked(b'5;name=value;q="a b"\r\nhello\r\n0;last\r\nX-Trailer: y\r\n\r\n'),
            b"POST /echo? hello",
            id="chunk extensions and trailers are passed over",
        ),
        pytest.param(
            chunked(b"0000000000000005\r\nhello\r\n000\r\n\r\n"),
            b"POST /echo? hello",
            id="zeros before a chunk size",
        ),
        pytest.param(
            head(b"Content-Length: 00005") + b"hello",
            b"POST /echo? hello",
            id="zeros before a length",
        ),
        pytest.param(
            head(b"X-Transfer-Encoding: chunked", b"Content-Length: 5") + b"hello",
            b"POST /echo? hello",
            id="a field of another name",
        ),
    ],
)
@pytest.mark.parametrize("in_pieces", [False, True], ids=["whole", "byte by byte"])
async def test_what_everybody_reads_alike_is_taken(
    connect: Connect, data: bytes, content: bytes, in_pieces: bool
) -> None:
    client = connect()
    client.send(*(pieces_of(data + HIDDEN) if in_pieces else [data + HIDDEN]))
    await settle()
    first, second = client.replies()
    assert (first.status, first.content) == (200, content)
    assert second.content == b"GET /hidden? "

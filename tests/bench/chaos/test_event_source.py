"""The reader accepts event streams of the contract, in any pieces, and rejects everything else."""

import pytest

from bench.chaos.checker import Seen
from bench.chaos.event_source import Frame, MalformedError, StreamReader, parse_frame

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n"
CHUNKED = PLAIN[:-2] + b"Transfer-Encoding: chunked\r\n\r\n"
REFUSAL = PLAIN[:-2] + b"Content-Length: 13\r\n\r\nretry: 3127\n\n"

OPENING = b'retry: 500\nevent: sse.open\nid: 7-1\ndata: {"serverId":"node-1"}'
EVENT = b'id: 7-2\ndata: {"eventType":"chaos","user":"ann","number":3}'
PING = b'event: ping\ndata: {"type":"ping"}'
STREAM = b"\n\n".join((OPENING, EVENT, PING, b""))


def chunked(data: bytes, size: int) -> bytes:
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


def read(*received: bytes) -> list[bytes]:
    reader = StreamReader()
    return [block for data in received for block in reader.feed(data)]


def byte_by_byte(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


@pytest.mark.parametrize(
    "response",
    [PLAIN + STREAM, CHUNKED + chunked(STREAM, 10), CHUNKED + chunked(STREAM, 1000)],
    ids=["plain", "small-chunks", "one-chunk"],
)
def test_blocks_are_found_in_any_pieces(response: bytes) -> None:
    expected = [OPENING, EVENT, PING]
    assert read(response) == expected
    assert read(*byte_by_byte(response)) == expected
    for at in range(len(response)):
        assert read(response[:at], response[at:]) == expected


def test_a_block_without_its_blank_line_is_not_dispatched() -> None:
    assert read(PLAIN + EVENT) == []
    assert read(PLAIN + EVENT + b"\n") == []


def test_a_response_that_says_its_end_ends_there() -> None:
    for pieces in ([REFUSAL], byte_by_byte(REFUSAL)):
        reader = StreamReader()
        assert [block for data in pieces for block in reader.feed(data)] == [b"retry: 3127"]
        assert reader.is_complete


@pytest.mark.parametrize(
    ("response", "is_complete"),
    [
        (PLAIN + STREAM, False),
        (CHUNKED + chunked(STREAM, 10), False),
        (CHUNKED + chunked(STREAM, 10) + b"0\r\n\r\n", True),
        (REFUSAL, True),
        (REFUSAL[:-1], False),
    ],
)
def test_a_response_is_complete_when_it_says_so(response: bytes, is_complete: bool) -> None:
    reader = StreamReader()
    reader.feed(response)
    assert reader.is_complete is is_complete


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/event-stream\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
    ],
)
def test_what_a_browser_gives_up_on(head: bytes) -> None:
    reader = StreamReader()
    assert reader.feed(head + STREAM) == []
    assert reader.status
    assert not reader.is_event_stream


def test_frames() -> None:
    assert parse_frame(EVENT) == Frame(
        "", 7 << 64 | 2, EVENT.partition(b"data: ")[2], None, "ann", Seen(7 << 64 | 2, 3)
    )
    assert parse_frame(OPENING) == Frame(
        "sse.open", 7 << 64 | 1, b'{"serverId":"node-1"}', retry_ms=500
    )
    assert parse_frame(PING) == Frame("ping", None, b'{"type":"ping"}')
    assert parse_frame(b"retry: 5") == Frame(retry_ms=5)


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"data",
        b"data:no blank",
        b"\nid: 7-2",
        b": comment",
        b"unknown: field",
        EVENT + b"\r",
        EVENT.replace(b"ann", b"a\0n"),
        EVENT + b"\ndata: again",
        EVENT.replace(b"7-2", b"7"),
        b"data: {}",
        b'data: {"eventType":"chaos","user":"ann","number":3}',
        b"id: 7-2\ndata: {",
        b'id: 7-2\ndata: {"eventType":"chaos","user":"ann","number":3,"more":1}',
        b"retry: soon",
        b"event: \xff",
    ],
)
def test_what_no_node_may_send_is_malformed(block: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_frame(block)


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n",
        b"x" * 20_000,
        CHUNKED + b"x\r\n",
        PLAIN + b"data: " + b"x" * (1 << 20),
    ],
)
def test_what_is_no_response_is_malformed(response: bytes) -> None:
    with pytest.raises(MalformedError):
        read(response)

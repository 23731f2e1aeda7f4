"""Contents by length and in chunks: as h11 reads them, in whatever pieces, or refused."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sse_node.errors import RequestError
from sse_node.wire.http_body import MAX_OVERHEAD_BYTES, ContentReader
from sse_node.wire.http_head import Request

MAX_CONTENT_BYTES = 100_000


def request_of(name: bytes, value: bytes) -> Request:
    return Request("POST", "/", "", {name: value})


def read(request: Request, *pieces: bytes) -> tuple[bytes, bytes]:
    """Return the content and what was left behind it."""
    reader = ContentReader(request, MAX_CONTENT_BYTES)
    received = bytearray()
    complete = reader.take(received)
    for piece in pieces:
        received += piece
        complete = complete or reader.take(received)
    assert complete, "it lacks bytes"
    return bytes(reader.content), bytes(received)


def read_chunked(*pieces: bytes) -> tuple[bytes, bytes]:
    return read(request_of(b"transfer-encoding", b"chunked"), *pieces)


def refusal_of(data: bytes) -> tuple[int, str]:
    """Return how chunks are refused; the same however they are cut."""
    refusals = set()
    for pieces in ([data], [data[i : i + 1] for i in range(len(data))]):
        with pytest.raises(RequestError) as caught:
            read_chunked(*pieces)
        refusals.add((caught.value.status, caught.value.detail))
    [refusal] = refusals
    return refusal


@pytest.mark.parametrize("length", [0, 1, 5, MAX_CONTENT_BYTES])
def test_content_of_a_length_is_taken_and_no_more(length: int) -> None:
    data = b"c" * length
    request = request_of(b"content-length", b"%d" % length)
    assert read(request, data + b"next") == (data, b"next")
    assert read(request, data[: length // 2], data[length // 2 :] + b"next") == (data, b"next")


@pytest.mark.parametrize(
    ("data", "content"),
    [
        pytest.param(b"0\r\n\r\n", b"", id="empty"),
        pytest.param(b"5\r\nhello\r\n0\r\n\r\n", b"hello", id="one chunk"),
        pytest.param(b"2\r\n\r\n\r\n1\r\n0\r\n0\r\n\r\n", b"\r\n0", id="odd content"),
        pytest.param(b"a\r\n0123456789\r\nA\r\nabcdefghij\r\n0\r\n\r\n",
                     b"0123456789abcdefghij", id="digits of either case"),
        pytest.param(b"0000000000000001\r\nx\r\n0000\r\n\r\n", b"x", id="zeros before"),
        pytest.param(b'1;a\r\nx\r\n1 ;b="c;d"\r\ny\r\n0;\xe9\t\r\n\r\n', b"xy", id="extensions"),
        pytest.param(b"1\r\nx\r\n0\r\nA: b\r\nC:\r\n\r\n", b"x", id="trailers"),
    ],
)  # fmt: skip
def test_chunks_are_joined(data: bytes, content: bytes) -> None:
    assert read_chunked(data + b"next") == (content, b"next")
    single = [data[i : i + 1] for i in range(len(data))]
    assert read_chunked(*single) == (content, b"")


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        *(
            pytest.param(line + b"\r\nx\r\n0\r\n\r\n", "chunk: expected its size", id=repr(line))
            for line in (
                *(b"", b"g", b"-1", b"+1", b" 1", b"1 ", b"0x1", b"1_0", b"1.", b"\xb2", b"1,1"),
                *(b"0" * 17, b"1;\0", b"1;\n", b"1;\r", b"1\n", b"1\r", b"1;\x7f", b"1\0;"),
            )
        ),
        pytest.param(b"1\r\nxy\r\n", "chunk: expected CR LF after", id="more than the size"),
        pytest.param(b"1\r\nx\n0\r\n", "chunk: expected CR LF after", id="LF after a chunk"),
        pytest.param(b"0\r\nX : y\r\n\r\n", "trailer: expected NAME: VALUE", id="odd trailer"),
        pytest.param(b"0\r\nX: y\n\r\n\r\n", "trailer: expected", id="LF after a trailer"),
        pytest.param(b"0\r\n\n\r\n", "trailer: expected NAME: VALUE", id="LF at the end"),
    ],
)
def test_what_others_might_read_differently_is_refused(data: bytes, detail: str) -> None:
    status, got = refusal_of(data)
    assert status == 400
    assert detail in got


def test_a_length_over_the_most_is_refused_at_once() -> None:
    with pytest.raises(RequestError, match="content: expected at most 100000 bytes") as caught:
        ContentReader(request_of(b"content-length", b"100001"), MAX_CONTENT_BYTES)
    assert caught.value.status == 413


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"%x\r\n" % (MAX_CONTENT_BYTES + 1), id="one chunk"),
        pytest.param(b"ffffffffffffffff\r\n", id="a huge one"),
        pytest.param(
            b"%x\r\n%b\r\n1\r\n" % (MAX_CONTENT_BYTES, b"x" * MAX_CONTENT_BYTES), id="two"
        ),
    ],
)
def test_chunks_over_the_most_are_refused_before_they_come(data: bytes) -> None:
    assert refusal_of(data) == (413, "content: expected at most 100000 bytes")


@pytest.mark.parametrize("excess", [0, 1])
@pytest.mark.parametrize(
    "make",
    [
        lambda size: b"1;%b\r\nx\r\n0\r\n\r\n" % (b"e" * (size - 11)),
        lambda size: b"0\r\nA:%b\r\n\r\n" % (b"e" * (size - 9)),
        lambda size: b"1\r\nx\r\n" * 3000 + b"0;%b\r\n\r\n" % (b"e" * (size - 15_006)),
    ],
    ids=["extension", "trailer", "small chunks"],
)
def test_what_the_coding_adds_is_bounded(make: object, excess: int) -> None:
    assert callable(make)
    data = make(MAX_OVERHEAD_BYTES + excess)
    if excess:
        assert refusal_of(data) == (413, "content: its chunks may add at most 16384 bytes to it")
    else:
        assert read_chunked(data + b"next")[1] == b"next"


@pytest.mark.parametrize("line", [b"1;" + b"e" * 20_000, b"0\r\nA:" + b"e" * 20_000])
def test_a_line_without_end_is_refused(line: bytes) -> None:
    assert refusal_of(line)[0] == 413


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b"18\n", "chunk: expected its size"),
        (b"g", "chunk: expected its size"),
        (b"\n", "chunk: expected its size"),
        (b" 5", "chunk: expected its size"),
        (b"5 x", "chunk: expected its size"),
        (b"5;a\n", "chunk: expected its size"),
        (b"5;a\0", "chunk: expected its size"),
        (b"5\rx", "chunk: expected its size"),
        (b"0" * 17, "chunk: expected its size"),
        (b"1\r\nxy", "chunk: expected CR LF after as many bytes"),
        (b"1\r\nx\n", "chunk: expected CR LF after as many bytes"),
        (b"1\r\nx\rx", "chunk: expected CR LF after as many bytes"),
        (b"0\r\n\n", "trailer: expected NAME: VALUE"),
        (b"0\r\n:", "trailer: expected NAME: VALUE"),
        (b"0\r\na b", "trailer: expected NAME: VALUE"),
        (b"0\r\na:b\n", "trailer: expected NAME: VALUE"),
        (b"0\r\na:b\rc", "trailer: expected NAME: VALUE"),
    ],
)
def test_bytes_that_can_never_become_valid_are_rejected_at_once(data: bytes, detail: str) -> None:
    status, got = refusal_of(data)
    assert status == 400
    assert got.startswith(detail)


@pytest.mark.parametrize(
    "data", [b"1", b"1 ", b"1;", b"1;a=b\r", b"1\r\nx\r", b"0\r\na", b"0\r\na:\r"]
)
def test_bytes_that_can_become_valid_are_waited_for(data: bytes) -> None:
    reader = ContentReader(request_of(b"transfer-encoding", b"chunked"), MAX_CONTENT_BYTES)
    received = bytearray()
    for byte in data:
        received.append(byte)
        assert not reader.take(received)


CHUNKS = st.lists(st.binary(min_size=1, max_size=40), max_size=6)
PARTS = st.lists(
    st.one_of(
        st.binary(max_size=6),
        st.sampled_from(
            [b"0\r\n\r\n", b"1\r\nx\r\n", b"2;e\r\nxy\r\n", b"0\r\n", b"\r\n", b"A: b\r\n"]
        ),
    ),
    max_size=8,
).map(b"".join)


@given(CHUNKS, st.binary(max_size=20), st.data())
def test_any_chunks_in_any_pieces_are_the_content(
    chunks: list[bytes], behind: bytes, data: st.DataObject
) -> None:
    coded = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    everything = coded + behind
    cuts = sorted(data.draw(st.lists(st.integers(0, len(everything)), max_size=8)))
    ends = zip([0, *cuts], [*cuts, len(everything)], strict=True)
    content, left = read_chunked(*(everything[start:end] for start, end in ends))
    assert (content, left) == (b"".join(chunks), behind)


@settings(deadline=None, max_examples=300)
@given(PARTS)
def test_whatever_is_complete_h11_reads_the_same_way(data: bytes) -> None:
    reader = ContentReader(request_of(b"transfer-encoding", b"chunked"), MAX_CONTENT_BYTES)
    received = bytearray(data)
    try:
        complete = reader.take(received)
    except RequestError as error:
        assert error.status in {400, 413}  # noqa: PT017  (both ways are right)
        return
    if not complete:  # where h11 takes LF for the end of a line, this one waits for CR LF
        return
    theirs = h11.Connection(h11.SERVER)
    theirs.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + data)
    content = b""
    while not isinstance(h11_event := theirs.next_event(), h11.EndOfMessage):
        assert isinstance(h11_event, h11.Request | h11.Data)
        content += h11_event.data if isinstance(h11_event, h11.Data) else b""
    assert (bytes(reader.content), bytes(received)) == (content, theirs.trailing_data[0])

"""Bytes to events, however they are cut (WHATWG HTML §9.2.6)."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sse_node.client.parser import ParsedEvent, Parser

STREAM = (
    "\ufeffretry: 1500\n\n"
    "event: sse.open\nid: 1-0\ndata: {}\n\n"
    ": a comment\n"
    "data: one\ndata:two\r\n\r\n"
    "id\ndata: é€😀\rdata\r\r"
    "id: a\0b\nretry: 1x\nunknown: 1\ndata:  spaced\n\n"
    "data: unfinished"
).encode()
EVENTS = [
    ParsedEvent(retry_ms=1500),
    ParsedEvent("sse.open", ["{}"], "1-0"),
    ParsedEvent("", ["one", "two"]),
    ParsedEvent("", ["é€😀", ""], ""),
    ParsedEvent("", [" spaced"]),
]


def test_a_stream_in_one_piece() -> None:
    assert list(Parser().feed(STREAM)) == EVENTS


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_a_stream_in_pieces(cuts: list[int]) -> None:
    parser = Parser()
    places = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[first:last] for first, last in itertools.pairwise(places)]
    assert [event for piece in pieces for event in parser.feed(piece)] == EVENTS


def test_bytes_that_are_no_utf_8_are_replaced() -> None:
    assert list(Parser().feed(b"data: \xff\n\n")) == [ParsedEvent(data=["\ufffd"])]


@pytest.mark.parametrize("text", ["", "\n", "\n\n\n", ": ping\n\n"])
def test_nothing_is_no_event(text: str) -> None:
    assert list(Parser().feed(text.encode())) == []

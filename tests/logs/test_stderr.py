"""Log lines on a pipe: written while it takes them, then kept, then dropped and counted."""

from __future__ import annotations

import io
import logging
import os
from typing import TYPE_CHECKING

import pytest

from sse_node.logs import stderr
from sse_node.logs.stderr import StderrHandler, dropped_lines, flush_lines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO


@pytest.fixture
def pipe() -> Iterator[tuple[int, TextIO]]:
    """The reading end of a pipe, and a stream on its writing end."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    with os.fdopen(writer, "w") as stream:
        yield reader, stream
    os.close(reader)


def record(message: str) -> logging.LogRecord:
    return logging.LogRecord("a", logging.INFO, "", 0, message, None, None)


def read_all(reader: int) -> bytes:
    data = b""
    try:
        while piece := os.read(reader, 1 << 20):
            data += piece
    except BlockingIOError:
        pass
    return data


def test_lines_are_written_at_once(pipe: tuple[int, TextIO]) -> None:
    reader, stream = pipe
    handler = StderrHandler(stream)
    handler.emit(record("one ü"))
    handler.emit(record("two \udc80"))
    assert read_all(reader) == "one ü\ntwo \\udc80\n".encode()


def test_a_long_line_is_whole(pipe: tuple[int, TextIO]) -> None:
    reader, stream = pipe
    StderrHandler(stream).emit(record("x" * 10_000))
    assert read_all(reader) == b"x" * 10_000 + b"\n"


def test_lines_wait_for_a_reader_in_order(pipe: tuple[int, TextIO]) -> None:
    reader, stream = pipe
    handler = StderrHandler(stream)
    lines = [f"{number:0100}" for number in range(1500)]  # twice what a pipe takes
    for line in lines:
        handler.emit(record(line))
    data = b""
    while piece := read_all(reader):
        data += piece
        handler.flush()
    assert data.decode().splitlines() == lines
    assert handler.dropped == 0


def test_too_many_lines_are_dropped_and_counted(
    pipe: tuple[int, TextIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stderr, "_MAX_WAITING_BYTES", 1000)
    reader, stream = pipe
    handler = StderrHandler(stream)
    for number in range(2000):
        handler.emit(record(f"{number:0100}"))
    assert handler.dropped > 1000
    data = b""
    while piece := read_all(reader):
        data += piece
        handler.flush()
    *lines, last = data.decode().splitlines()
    assert len(lines) == 2000 - handler.dropped
    assert last == f"{handler.dropped} log lines were dropped: stderr was not read"


def test_a_closed_pipe_takes_lines_for_nothing() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        handler = StderrHandler(stream)
        for _ in range(3):
            handler.emit(record("a"))
        assert handler.dropped == 0


def test_a_stream_that_is_no_file_is_written_to() -> None:
    stream = io.StringIO()
    StderrHandler(stream).emit(record("one"))
    assert stream.getvalue() == "one\n"


def test_dropped_lines_are_those_of_the_process(
    pipe: tuple[int, TextIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = StderrHandler(pipe[1])
    handler.dropped = 3
    monkeypatch.setattr(logging.getLogger(), "handlers", [logging.NullHandler(), handler])
    assert dropped_lines() == 3
    flush_lines()

"""The client's side of an event stream, strictly by the WHATWG HTML standard §9.2. Pure.

A browser repairs or skips malformed input; here it raises `MalformedError`.
"""

import re
from functools import lru_cache
from typing import Literal

import msgspec

from bench.chaos.checker import Seen, position_of

_MAX_HEAD_BYTES = 16384  # arbitrary
_MAX_FRAME_BYTES = 1 << 20  # four times the largest event there may be
_REMEMBERED_FRAMES = 512  # every stream of a user gets the same frame at about the same time


class MalformedError(ValueError):
    """The input is not an event stream of a node."""


class EventData(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """The data of the events that this benchmark publishes."""

    event_type: str
    user: str
    number: int
    pad: str = ""


class ForeignData(msgspec.Struct, rename="camel"):
    """The data of events that another program publishes beside the nodes."""

    event_type: Literal["foreign"]
    user: str
    number: int


class Frame(msgspec.Struct, frozen=True):
    """One block of an event stream: everything up to a blank line."""

    event: str = ""
    """The event type; empty for a message."""
    position: int | None = None
    """Of its id; None without an id."""
    data: bytes = b""
    retry_ms: int | None = None
    user: str = ""
    """Of a message."""
    seen: Seen | None = None
    """Of a message."""
    foreign: int | None = None
    """The number of an event of another program."""


@lru_cache(_REMEMBERED_FRAMES)
def parse_frame(block: bytes) -> Frame:
    """Return the frame of a block without its blank line. Raises MalformedError."""
    fields: dict[bytes, bytes] = {}
    for line in block.split(b"\n"):
        name, separator, value = line.partition(b": ")
        if name not in {b"event", b"id", b"data", b"retry"} or not separator:
            raise MalformedError(f"line {line[:80]!r}")
        if name in fields:
            raise MalformedError(f"field {name!r} twice in {block[:200]!r}")
        if b"\r" in value or b"\0" in value:
            raise MalformedError(f"CR or NUL in {line[:80]!r}")
        fields[name] = value
    try:
        return _frame(fields)
    except (ValueError, msgspec.MsgspecError) as exc:
        raise MalformedError(f"{exc} in {block[:200]!r}") from exc


def _frame(fields: dict[bytes, bytes]) -> Frame:
    event = fields.get(b"event", b"").decode()
    data = fields.get(b"data", b"")
    position = position_of(fields[b"id"].decode()) if b"id" in fields else None
    retry_ms = int(fields[b"retry"]) if b"retry" in fields else None
    user, seen, foreign = "", None, None
    if data and not event and position is None:
        theirs = msgspec.json.decode(data, type=ForeignData)
        user, foreign = theirs.user, theirs.number
    elif data and not event and position is not None:
        content = msgspec.json.decode(data, type=EventData)
        user, seen = content.user, Seen(position, content.number)
    return Frame(event, position, data, retry_ms, user, seen, foreign)


class StreamReader:
    """Splits the bytes of one connection into the blocks of its event stream."""

    def __init__(self) -> None:
        """Begin before the response's head."""
        self.status = 0
        """Of the response; 0 until its head is complete."""
        self.content_type = ""
        self._head_done = False
        self._left_bytes: int | None = None  # of content with a Content-Length
        self._chunks: _Chunks | None = None
        self._buffer = bytearray()
        self._searched = 0

    @property
    def is_event_stream(self) -> bool:
        """Whether a browser would accept the response."""
        return self.status == 200 and self.content_type.partition(";")[0] == "text/event-stream"

    @property
    def is_complete(self) -> bool:
        """Whether the response has ended, though the connection may not have."""
        return self._left_bytes == 0 or (self._chunks is not None and self._chunks.ended)

    def feed(self, data: bytes) -> list[bytes]:
        """Process received bytes; return the complete blocks. Raises MalformedError."""
        if not self._head_done:
            self._buffer += data
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > _MAX_HEAD_BYTES:
                    raise MalformedError("a head without an end")
                return []
            self._read_head(self._buffer[:end].decode("latin-1"))
            data = bytes(self._buffer[end + 4 :])
            self._buffer.clear()
        if not self.is_event_stream:
            return []
        if self._chunks is not None:
            data = self._chunks.feed(data)
        elif self._left_bytes is not None:
            data = data[: self._left_bytes]
            self._left_bytes -= len(data)
        self._buffer += data
        return self._blocks()

    def _read_head(self, head: str) -> None:
        status_line, *lines = head.split("\r\n")
        match = re.fullmatch(r"HTTP/1\.1 (\d{3}) .*", status_line)
        if match is None:
            raise MalformedError(f"status line {status_line[:80]!r}")
        headers = {}
        for line in lines:
            name, separator, value = line.partition(":")
            if not separator:
                raise MalformedError(f"header {line[:80]!r}")
            headers[name.lower()] = value.strip()
        self.status = int(match[1])
        self.content_type = headers.get("content-type", "")
        if headers.get("transfer-encoding", "") == "chunked":
            self._chunks = _Chunks()
        elif "content-length" in headers:
            self._left_bytes = int(headers["content-length"])
        self._head_done = True

    def _blocks(self) -> list[bytes]:
        blocks = []
        begin = 0
        while (end := self._buffer.find(b"\n\n", max(begin, self._searched))) >= 0:
            blocks.append(bytes(self._buffer[begin:end]))
            begin = end + 2
        del self._buffer[:begin]
        self._searched = max(0, len(self._buffer) - 1)
        if len(self._buffer) > _MAX_FRAME_BYTES:
            raise MalformedError(f"a frame of more than {_MAX_FRAME_BYTES} bytes")
        return blocks


class _Chunks:
    """Decodes the chunked transfer coding (RFC 9112 §7.1)."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._left = 0  # bytes of the present chunk, with its line end
        self.ended = False

    def feed(self, data: bytes) -> bytes:
        self._buffer += data
        found = bytearray()
        while self._buffer:
            if self._left == 0:
                line, separator, _ = self._buffer.partition(b"\r\n")
                if not separator:
                    break
                if re.fullmatch(rb"[0-9a-fA-F]{1,8}", line) is None:
                    raise MalformedError(f"chunk size {bytes(line[:80])!r}")
                del self._buffer[: len(line) + 2]
                self._left = int(line, 16) + 2
                self.ended = self._left == 2
            piece = self._buffer[: self._left]
            del self._buffer[: len(piece)]
            found += piece[: max(0, self._left - 2)]
            self._left -= len(piece)
        return bytes(found)

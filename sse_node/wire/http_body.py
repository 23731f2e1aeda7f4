"""Takes the content of a request out of the bytes behind its head (RFC 9112 §6, §7.1).

Strict where h11 is not: a line of the chunked coding ends with CR LF and holds no control
character, so nobody can read another end of the request out of it. What is refused depends on the
bytes alone, never on the pieces they come in.
"""

import re
from enum import Enum
from typing import Final

from sse_node.errors import RequestError
from sse_node.wire.http_head import FIELD_LINE, Request

# What chunk sizes, extensions and trailers may add to a content: 1 MiB in chunks of 512 bytes adds
# 14 KiB, 64 KiB in chunks of one byte would add 320.
MAX_OVERHEAD_BYTES: Final = 16 * 1024

_PLAIN_SIZE = re.compile(rb"(0{0,8}[1-9A-Fa-f][0-9A-Fa-f]{0,6})\r\n")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*+;[^\x00-\x08\x0a-\x1f\x7f]*+)?")


# No line has a control character but TAB, nor a CR that is not followed by LF.
_NEVER_IN_A_LINE = re.compile(rb"[\x00-\x08\x0a-\x0c\x0e-\x1f\x7f]|\r(?!\n|\Z)")
_START_BYTES = 32  # arbitrary: of a line, looked at again with each piece


class _Line(Enum):
    """What the next line of the chunked coding is: how it starts, and what is expected."""

    SIZE = (
        re.compile(rb"[0-9A-Fa-f]{0,16}|[0-9A-Fa-f]{1,16}[ \t]*+(?:;.*)?", re.DOTALL),
        "chunk: expected its size in hexadecimal digits",
    )
    END_OF_CHUNK = (re.compile(rb""), "chunk: expected CR LF after as many bytes as its size")
    TRAILER = (
        re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]*+(?:(?<=.):.*)?", re.DOTALL),
        "trailer: expected NAME: VALUE",
    )

    def __init__(self, start: re.Pattern[bytes], expected: str) -> None:
        self.start = start
        self.expected = expected


class ContentReader:
    """Reads one request's content; made when its head has arrived, gone with its end.

    Args:
        request: has content.
        max_content_bytes: the most that is accepted.

    Raises:
        RequestError: 413, its Content-Length is over that.
    """

    __slots__ = ("_checked_bytes", "_is_chunked", "_left_bytes", "_line", "_max_content_bytes",
                 "_overhead_bytes", "content")  # fmt: skip

    def __init__(self, request: Request, max_content_bytes: int) -> None:
        length = request.headers.get(b"content-length")
        self.content = bytearray()
        self._max_content_bytes = max_content_bytes
        self._is_chunked = length is None
        self._line = _Line.SIZE
        self._checked_bytes = 0  # of the line that has not ended yet
        self._overhead_bytes = 0
        self._left_bytes = 0  # of the content, or of the chunk in hand
        self._expect(int(length or 0))

    def take(self, received: bytearray) -> bool:
        """Take what belongs to the content out of `received`; True when it is complete.

        Raises:
            RequestError: 400 or 413, it is not well-formed or too long.
        """
        while True:
            data = received[: self._left_bytes]
            del received[: len(data)]
            self.content += data
            self._left_bytes -= len(data)
            if self._left_bytes or not self._is_chunked:
                return not self._left_bytes
            if self._line is _Line.SIZE:
                self._take_plain_chunks(received)
            line = self._take_line(received)
            if line is None:
                return False
            if self._is_last(line):
                return True

    def _take_plain_chunks(self, received: bytearray) -> None:
        """Take whole chunks without extensions; what else there is, is left.

        Chunks of one byte take a seventh of the time that they take line by line.
        """
        position = 0
        while (size := _PLAIN_SIZE.match(received, position)) is not None:
            end = size.end() + int(size[1], 16)
            overhead_bytes = self._overhead_bytes + len(size[0]) + len(b"\r\n")
            if (
                received[end : end + 2] != b"\r\n"
                or len(self.content) + end - size.end() > self._max_content_bytes
                or overhead_bytes > MAX_OVERHEAD_BYTES
            ):
                break
            self.content += received[size.end() : end]
            self._overhead_bytes = overhead_bytes
            self._checked_bytes = 0
            position = end + 2
        del received[:position]

    def _expect(self, content_bytes: int) -> None:
        if len(self.content) + content_bytes > self._max_content_bytes:
            raise RequestError(413, f"content: expected at most {self._max_content_bytes} bytes")
        self._left_bytes = content_bytes

    def _take_line(self, received: bytearray) -> bytes | None:
        """Return the next line without its CR LF; None when it has not arrived."""
        end = received.find(b"\r\n")
        line_bytes = len(received) if end < 0 else end + 2
        self._check_start(received, end)
        if self._overhead_bytes + line_bytes > MAX_OVERHEAD_BYTES:
            raise RequestError(
                413, f"content: its chunks may add at most {MAX_OVERHEAD_BYTES} bytes to it"
            )
        if end < 0:
            self._checked_bytes = max(0, len(received) - 1)  # it may be the CR of the end
            return None
        self._checked_bytes = 0
        self._overhead_bytes += line_bytes
        line = bytes(received[:end])
        del received[:line_bytes]
        return line

    def _check_start(self, received: bytearray, end: int) -> None:
        """Reject a line at the first byte that can never be part of a valid one."""
        most = MAX_OVERHEAD_BYTES - self._overhead_bytes
        line_bytes = min(most, len(received) if end < 0 else end)
        start = bytes(received[: min(line_bytes, _START_BYTES)])
        if end < 0 and len(start) == len(received):
            start = start.removesuffix(b"\r")
        is_valid = self._line.start.fullmatch(start) is not None
        if not is_valid or _NEVER_IN_A_LINE.search(received, self._checked_bytes, line_bytes):
            raise RequestError(400, self._line.expected)

    def _is_last(self, line: bytes) -> bool:
        """Go on behind a line of the chunked coding; True at the end of the content."""
        if self._line is _Line.SIZE:
            size = _CHUNK_SIZE.fullmatch(line)
            if size is None:
                raise RequestError(400, self._line.expected)
            self._expect(int(size[1], 16))
            self._line = _Line.END_OF_CHUNK if self._left_bytes else _Line.TRAILER
        elif self._line is _Line.END_OF_CHUNK:
            if line:
                raise RequestError(400, self._line.expected)
            self._line = _Line.SIZE
        elif line and FIELD_LINE.fullmatch(line) is None:
            raise RequestError(400, self._line.expected)
        else:
            return not line
        return False

"""Log lines on stderr, without ever waiting for whoever reads them.

A pipe that nobody reads takes 64 KiB; a write to it would then stop the event loop, and with it
every stream. Lines that stderr does not take wait here, within a bound; further lines are dropped
and counted.
"""

import logging
import os
import select
from collections import deque
from typing import Final, TextIO

_MAX_WAITING_BYTES: Final = 256 * 1024  # arbitrary: a burst of some 2,000 lines
# What a pipe that is ready for writing takes without blocking (PIPE_BUF, pipe(7)).
_PIECE_BYTES: Final = 4096


class StderrHandler(logging.Handler):
    """Writes lines while the stream takes them; lives as long as the log output.

    Args:
        stream: with a file descriptor, or one that tests read.

    Attributes:
        dropped: lines that were never written.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        try:
            self._descriptor = stream.fileno()
        except OSError:  # not a file: it cannot block
            self._descriptor = -1
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._unreported = 0
        self.dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, keep it for later, or drop it."""
        try:
            line = self.format(record) + "\n"
        except Exception:
            self.handleError(record)
            return
        if self._descriptor < 0:
            self._stream.write(line)
            return
        self._add(line.encode(errors="backslashreplace"))
        self.flush()

    def flush(self) -> None:
        """Write waiting lines as far as the stream takes them; called now and then."""
        self.acquire()
        try:
            while self._waiting and self._is_writable():
                piece = self._waiting[0][:_PIECE_BYTES]
                try:
                    written = os.write(self._descriptor, piece)
                except OSError:  # closed at the other end: nobody will ever read it
                    self._waiting.clear()
                    self._waiting_bytes = 0
                    return
                self._waiting_bytes -= written
                rest = self._waiting.popleft()[written:]
                if rest:
                    self._waiting.appendleft(rest)
            if self._unreported and not self._waiting:
                count, self._unreported = self._unreported, 0
                self._add(b"%d log lines were dropped: stderr was not read\n" % count)
        finally:
            self.release()

    def _add(self, line: bytes) -> None:
        if self._waiting_bytes + len(line) > _MAX_WAITING_BYTES:
            self.dropped += 1
            self._unreported += 1
            return
        self._waiting.append(line)
        self._waiting_bytes += len(line)

    def _is_writable(self) -> bool:
        poll = select.poll()  # unlike select(), it takes descriptors above 1023
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(0))


def dropped_lines() -> int:
    """Return how many log lines of this process were dropped."""
    handlers = logging.getLogger().handlers
    return sum(each.dropped for each in handlers if isinstance(each, StderrHandler))


def flush_lines() -> None:
    """Write waiting log lines as far as stderr takes them."""
    for handler in logging.getLogger().handlers:
        handler.flush()

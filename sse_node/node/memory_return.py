"""Returns the memory of a backlog to the operating system once it is gone."""

from typing import Final

from sse_node.node.process_memory import find_release

# glibc keeps freed memory that is not at the end of its heap. malloc_trim takes 8 ms for 90 MB
# (measured); a smaller backlog is not worth it.
_MIN_BYTES: Final = 16 * 1024 * 1024


class MemoryReturn:
    """Notes how many bytes have waited for slow clients; lives as long as the node."""

    def __init__(self) -> None:
        self._release = find_release()
        self._peak_bytes = 0

    def look(self, waiting_bytes: int, peak_bytes: int = 0) -> None:
        """Return memory when a large backlog has shrunk to a quarter.

        Args:
            waiting_bytes: at the moment.
            peak_bytes: the most since the last look, if it is known.
        """
        self._peak_bytes = max(self._peak_bytes, waiting_bytes, peak_bytes)
        if self._peak_bytes < _MIN_BYTES or waiting_bytes > self._peak_bytes // 4:
            return
        self._peak_bytes = waiting_bytes
        self._release()

"""The reconnection time that clients are given: jittered, so that they don't all return at once."""

import random

from sse_node.wire.sse import encode_retry

_JITTER = 0.25


class RetryTime:
    """Makes `retry` fields; lives as long as the node.

    Args:
        retry_ms: the mean reconnection time, in milliseconds; each one is within a quarter of it.
    """

    def __init__(self, retry_ms: int) -> None:
        self._least_ms = retry_ms * (1 - _JITTER)
        self._spread_ms = 2 * _JITTER * retry_ms

    def jittered_ms(self) -> int:
        """Return a reconnection time in milliseconds."""
        return round(self._least_ms + self._spread_ms * random.random())

    def encode(self) -> bytes:
        """Return a `retry` field with a blank line, to be written alone or at a stream's end."""
        return encode_retry(self.jittered_ms())

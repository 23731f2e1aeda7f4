"""Ends streams whose access ends: when their token expires, is revoked, or loses its key.

Only streams of a token are kept here: a stream without an end costs nothing.
"""

from collections.abc import Callable
from math import ceil, inf
from time import time

from sse_node.lifetimes.periodic import Periodic
from sse_node.streams.event_stream import CloseReason, OpenStream
from sse_node.wire.identity import Identity

_LOOK_INTERVAL_S = 0.5
# A key may have signed the tokens of all streams, whose clients come back at once: 2,000 a second.
_MAX_KEYLESS_AT_ONCE = 1000


class AccessEnds:
    """The open streams of tokens, by the second they end in; lives as long as the node.

    Args:
        close: called with each stream whose access ends, and the reason.
        now: returns the Unix time.
    """

    def __init__(
        self, close: Callable[[OpenStream, CloseReason], None], now: Callable[[], float] = time
    ) -> None:
        self._close = close
        self._now = now
        self._identities: dict[OpenStream, Identity] = {}
        self._keyless: list[OpenStream] = []
        self._by_second: dict[int, set[OpenStream]] = {}
        self._by_token: dict[str, set[OpenStream]] = {}
        self._timer = Periodic(_LOOK_INTERVAL_S, self._look)

    def __len__(self) -> int:
        return len(self._identities)

    def start(self) -> None:
        """Start to watch; needs a running event loop."""
        self._timer.start()

    def shutdown(self) -> None:
        """Stop the timer."""
        self._timer.shutdown()

    def add(self, stream: OpenStream, identity: Identity) -> None:
        """Watch a stream that is open, if its access has an end."""
        if identity.expires_s == inf:
            return
        self._identities[stream] = identity
        second = ceil(identity.expires_s)
        try:
            self._by_second[second].add(stream)
        except KeyError:
            self._by_second[second] = {stream}
        if identity.token_id:
            self._by_token.setdefault(identity.token_id, set()).add(stream)

    def remove(self, stream: OpenStream) -> None:
        """Stop watching a stream that is gone."""
        identity = self._identities.pop(stream, None)
        if identity is None:
            return
        second = ceil(identity.expires_s)
        streams = self._by_second[second]
        streams.discard(stream)
        if not streams:
            del self._by_second[second]
        if identity.token_id:
            streams = self._by_token[identity.token_id]
            streams.discard(stream)
            if not streams:
                del self._by_token[identity.token_id]

    def revoke_token(self, token_id: str) -> None:
        """Close the streams of a token by its `jti`."""
        for stream in list(self._by_token.get(token_id, ())):
            self._close(stream, CloseReason.REVOKED)

    def end_keys(self, holds: Callable[[str], bool]) -> None:
        """Close the streams of keys that do not hold any more, 2,000 a second.

        Args:
            holds: whether a key holds, by its fingerprint.
        """
        keys = {identity.key for identity in self._identities.values()}
        gone = {key for key in keys if not holds(key)}
        self._keyless = [
            stream for stream, identity in self._identities.items() if identity.key in gone
        ]

    def _look(self) -> None:
        self._close_keyless()
        now = self._now()
        for second in [second for second in self._by_second if second <= now]:
            for stream in list(self._by_second.get(second, ())):
                self._close(stream, CloseReason.TOKEN_EXPIRED)

    def _close_keyless(self) -> None:
        batch = self._keyless[-_MAX_KEYLESS_AT_ONCE:]
        del self._keyless[-_MAX_KEYLESS_AT_ONCE:]
        for stream in batch:
            if stream in self._identities:
                self._close(stream, CloseReason.TOKEN_EXPIRED)

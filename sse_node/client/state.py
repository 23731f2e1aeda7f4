"""What a stream that stays open knows between two requests, without I/O.

Positions, what was seen already, the reconnection time, and what an answer means. The npm package
makes the same decisions.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from sse_node.client.parser import ParsedEvent, Parser
from sse_node.errors import AccessEndedError, NoStreamError, ResetError, StreamClosedError
from sse_node.wire.event_id import parse_position

RESET: Final = "sse.reset"
_OPEN: Final = "sse.open"
_CLOSED: Final = "sse.closed"
_PING: Final = "ping"
_STREAM: Final = "text/event-stream"
_LONGEST_WAIT_S: Final = 3600.0
_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class Event:
    """One event.

    Attributes:
        id: its position; empty for an event without one (volatile, or of another program).
        type: its event type; `sse.reset` says that events before it may be missing.
        data: decoded JSON, with the member `eventType` of an event.
    """

    id: str
    type: str
    data: Any


class StreamState:
    """Lives as long as the iteration over a stream.

    Args:
        last_event_id: to begin after; empty for now.
        raises_resets: whether `sse.reset` is a ResetError instead of an event.
        retry_s: the reconnection time until the server says another.
        max_retry_s: the longest time between two attempts that is not the server's wish.
        uniform: returns a random number between two.
    """

    def __init__(
        self,
        last_event_id: str,
        *,
        raises_resets: bool,
        retry_s: float,
        max_retry_s: float,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.last_event_id = last_event_id
        self._raises_resets = raises_resets
        self._retry_s = retry_s
        self._max_retry_s = max_retry_s
        self._uniform = uniform
        self._least_s = 0.0
        self._failures = 0
        self._parser = Parser()

    def headers(self, token: str) -> dict[str, str]:
        """Return the headers of the next request."""
        headers = {"Accept": _STREAM, "Accept-Encoding": "identity", "Cache-Control": "no-store"}
        if self.last_event_id:
            headers["Last-Event-ID"] = self.last_event_id
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return headers

    def on_response(self, status: int, headers: Mapping[str, str]) -> None:
        """Begin to read an answer.

        Raises:
            StreamClosedError: 204, the server wants no further attempt.
            AccessEndedError: 401 or 403.
            NoStreamError: it is no stream.
        """
        self._least_s = 0.0
        if status == 204:
            raise StreamClosedError("no-content")
        if status in {401, 403}:
            raise AccessEndedError("unauthorized")
        if status != 200 or not headers.get("content-type", "").startswith(_STREAM):
            retry_after = headers.get("retry-after", "")
            if retry_after.isascii() and retry_after.isdigit():
                self._least_s = float(retry_after[:9])
            raise NoStreamError(f"status {status}")
        self._parser = Parser()

    def feed(self, data: bytes) -> Iterator[Event]:
        """Yield the events of an application in the bytes of a stream, each once.

        Raises:
            ResetError: events may be missing, and resets are to be raised.
            AccessEndedError: access has ended.
        """
        for parsed in self._parser.feed(data):
            if parsed.retry_ms is not None:
                self._retry_s = self._least_s = parsed.retry_ms / 1000
            if parsed.data:
                yield from self._take(parsed)

    def _take(self, parsed: ParsedEvent) -> Iterator[Event]:
        data = _json("\n".join(parsed.data))
        if parsed.type == _CLOSED:
            raise AccessEndedError(_member(data, "reason"))
        self._failures = 0
        if parsed.type == _PING:
            return
        if parsed.type == _OPEN:
            self.last_event_id = self.last_event_id or parsed.id or ""
            return
        if parsed.type == RESET:
            self.last_event_id = parsed.id or self.last_event_id
            if self._raises_resets:
                raise ResetError(_member(data, "reason"))
            yield Event(parsed.id or "", RESET, data)
            return
        if parsed.id and self._has_seen(parsed.id):
            return
        self.last_event_id = parsed.id or self.last_event_id
        yield Event(parsed.id or "", _member(data, "eventType") or parsed.type, data)

    def _has_seen(self, event_id: str) -> bool:
        position, last = parse_position(event_id), parse_position(self.last_event_id)
        return position is not None and last is not None and position <= last

    def wait_s(self) -> float:
        """Return how long to wait for the next attempt: full jitter above the server's wish."""
        least_s = min(self._least_s, _LONGEST_WAIT_S)
        backoff_s = min(self._max_retry_s, self._retry_s * 2.0 ** min(self._failures, 32))
        self._failures += 1
        return self._uniform(least_s, max(least_s, backoff_s))


def _json(text: str) -> Any:  # noqa: ANN401
    try:
        return _decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return text  # of another kind of server


def _member(data: object, name: str) -> str:
    value = data.get(name) if isinstance(data, dict) else None
    return value if isinstance(value, str) else ""

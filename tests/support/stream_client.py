"""A client that reads one event stream, for the tests.

It reads only while somebody waits for something, so nothing runs in the background.
"""

from __future__ import annotations

import json
import socket
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from tests.support.event_stream_parser import parse_event_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

WAIT_S = 10.0
"""How long a condition may take; generous, because a passing test never waits for it."""


@dataclass(frozen=True)
class Event:
    """One dispatched event.

    Attributes:
        name: `message` where there is no event field.
        data: as text.
        id: of this event's own id field, empty without.
        frame: the bytes, with the blank line at their end.
        received_s: by time.monotonic(), when its last byte was read.
    """

    name: str
    data: str
    id: str
    frame: bytes = field(repr=False)
    received_s: float

    @property
    def json(self) -> dict[str, Any]:
        decoded: dict[str, Any] = json.loads(self.data)
        return decoded

    @property
    def type(self) -> str:
        """The member eventType of a published event, else the name."""
        return str(self.json.get("eventType", self.name))


class StreamClient:
    """One connection with one stream; opened when made, closed at the end of its `with` block.

    Args:
        address: `http://127.0.0.1:1234` or `unix:/path`.
        target: the request target.
        headers: added to the request's.
    """

    def __init__(
        self, address: str, target: str = "/events/sse", headers: Mapping[str, str] | None = None
    ) -> None:
        self.events: list[Event] = []
        self.retry_ms: int | None = None
        self.closed = False
        self._looked_at = 0
        self._received = b""  # of the connection, what is not a whole chunk yet
        self._content = b""  # of the stream, what is not a whole frame yet
        self._length = 0  # of all content so far
        self._socket = _connect(address)
        fields = {"Host": "localhost", "Accept": "text/event-stream", **(headers or {})}
        lines = [f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        self.asked_s = time.monotonic()
        try:
            self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
            self.head = self._read_head()
        except BaseException:
            self.close()
            raise
        self.status = int(self.head.split()[1])
        self._take_frames()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave."""
        self._socket.close()

    @property
    def headers(self) -> dict[str, str]:
        """The response's headers, with lower-case names."""
        lines = self.head.decode("latin-1").split("\r\n")[1:-2]
        return {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}

    def wait_for(self, is_it: Callable[[Event], bool], timeout_s: float = WAIT_S) -> Event:
        """Return the first event for which `is_it` holds, after the one returned before."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            while self._looked_at < len(self.events):
                event = self.events[self._looked_at]
                self._looked_at += 1
                if is_it(event):
                    return event
            self._read(deadline_s)

    def wait_for_type(self, event_type: str, timeout_s: float = WAIT_S) -> Event:
        """Return the next event of this type."""
        return self.wait_for(lambda event: event.type == event_type, timeout_s)

    def wait_open(self) -> Event:
        """Return the stream's sse.open."""
        return self.wait_for_type("sse.open")

    def wait_closed(self, timeout_s: float = WAIT_S) -> None:
        """Read until the server ends the stream."""
        deadline_s = time.monotonic() + timeout_s
        while not self.closed:
            self._read(deadline_s)

    def published(self) -> list[Event]:
        """The events received so far that somebody published: no sse.*, no ping."""
        return [event for event in self.events if "eventType" in event.json]

    def _read(self, deadline_s: float) -> None:
        if self.closed:
            raise EOFError(f"the stream ended; its last events: {self._last_events()}")
        data = self._receive(deadline_s)
        if data:
            self._received += data
            self._take_frames()
        else:
            self.closed = True
            self._socket.close()
            rest = self._received + self._content
            assert rest == b"", f"the stream ended inside a frame: {rest!r:.300}"

    def _take_frames(self) -> None:
        self._content += self._take_content()
        *frames, self._content = self._content.split(b"\n\n")
        for frame in frames:
            self._dispatch(frame + b"\n\n")

    def _take_content(self) -> bytes:
        """What has been received of the content; a proxy may have put it into chunks."""
        content = b""
        if self.headers.get("transfer-encoding") != "chunked":
            content, self._received = self._received, b""
            self._length += len(content)
            if str(self._length) == self.headers.get("content-length"):
                self.closed = True
            return content
        while b"\r\n" in self._received:
            size_in_hex, _, rest = self._received.partition(b"\r\n")
            size = int(size_in_hex, 16)
            if len(rest) < size + 2:
                break
            content += rest[:size]
            self._received = rest[size + 2 :]
            self.closed = size == 0
        return content

    def _dispatch(self, frame: bytes) -> None:
        parsed = parse_event_stream(frame)
        if parsed.retry_ms is not None:
            self.retry_ms = parsed.retry_ms
        for event in parsed.events:
            received_s = time.monotonic()
            self.events.append(
                Event(event.type, event.data, event.last_event_id, frame, received_s)
            )

    def _read_head(self) -> bytes:
        deadline_s = time.monotonic() + WAIT_S
        while b"\r\n\r\n" not in self._received:
            data = self._receive(deadline_s)
            assert data, f"the connection ended inside the head: {self._received!r}"
            self._received += data
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        return head + b"\r\n\r\n"

    def _last_events(self) -> str:
        return "".join(f"\n  {event!r:.300}" for event in self.events[-5:])

    def _receive(self, deadline_s: float) -> bytes:
        self._socket.settimeout(max(0.001, deadline_s - time.monotonic()))
        try:
            return self._socket.recv(65536)
        except TimeoutError:
            raise TimeoutError(
                f"nothing more came; the last events: {self._last_events()}"
            ) from None
        except ConnectionResetError:
            return b""


def _connect(address: str) -> socket.socket:
    if address.startswith("unix:"):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(WAIT_S)
        connection.connect(address.removeprefix("unix:"))
        return connection
    host, _, port = address.removeprefix("http://").rpartition(":")
    return socket.create_connection((host, int(port)), timeout=WAIT_S)

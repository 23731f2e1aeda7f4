"""The encoding of an event stream (WHATWG HTML §9.2).

A *frame* is the bytes of one encoded event together with the blank line that dispatches it.
Nothing here repairs: a CR, LF or NUL where a field would break raises ValueError.
"""

import re
from typing import Final

CONTENT_TYPE: Final = b"text/event-stream; charset=utf-8"

_BREAKS_A_FIELD = re.compile(rb"[\r\n\0]")


def encode_event(data: bytes, *, event: bytes = b"", event_id: bytes = b"") -> bytes:
    """Return the frame of one event.

    Args:
        data: one line of UTF-8; may be empty (the event then has an empty `data` field).
        event: event type; empty leaves the `event` field out, the client sees `message`.
        event_id: the last event ID that the client shall remember; empty leaves it out.

    Raises:
        ValueError: a field holds CR, LF or NUL.
    """
    if _BREAKS_A_FIELD.search(data + event + event_id):
        raise ValueError(f"CR, LF or NUL in a field of event {event!r} with id {event_id!r}")
    lines = []
    if event:
        lines.append(b"event: " + event)
    if event_id:
        lines.append(b"id: " + event_id)
    lines.append(b"data: " + data)
    return b"\n".join(lines) + b"\n\n"


def encode_retry(retry_ms: int) -> bytes:
    """Return a frame that only sets the client's reconnection time, in milliseconds ≥ 0."""
    if retry_ms < 0:
        raise ValueError(f"reconnection time {retry_ms} ms; expected 0 or more")
    return b"retry: %d\n\n" % retry_ms

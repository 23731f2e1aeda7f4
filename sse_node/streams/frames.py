"""The frames that the node itself writes: `sse.open`, `sse.reset`, `sse.closed` and `ping`."""

from functools import lru_cache
from time import time

import msgspec

from sse_node.wire.event_id import format_position
from sse_node.wire.sse import encode_event

# Streams that open after the same position get the same `sse.open`. Arbitrary.
_CACHED = 16


@lru_cache(_CACHED)
def encode_open(server_id: str, position: int | None, resumed: bool, replayed: int) -> bytes:
    """Return `sse.open`.

    Args:
        server_id: of the node.
        position: becomes the event's id; None leaves the id out.
        resumed: whether the stream continues where an earlier one ended.
        replayed: how many events follow that the client has missed.
    """
    data = {"serverId": server_id, "resumed": resumed, "replayed": replayed}
    event_id = b"" if position is None else format_position(position)
    return encode_event(msgspec.json.encode(data), event=b"sse.open", event_id=event_id)


def encode_reset(reason: str, position: int) -> bytes:
    """Return `sse.reset`: events up to `position` may be missing; the application reloads."""
    return encode_event(
        msgspec.json.encode({"reason": reason}),
        event=b"sse.reset",
        event_id=format_position(position),
    )


def encode_closed(reason: str) -> bytes:
    """Return `sse.closed`: the stream ends, and why; it has no id."""
    return encode_event(msgspec.json.encode({"reason": reason}), event=b"sse.closed")


def encode_ping(server_id: str) -> bytes:
    """Return a ping with the present time; it has no id."""
    data = {"type": "ping", "serverId": server_id, "timestamp": int(time() * 1000)}
    return encode_event(msgspec.json.encode(data), event=b"ping")

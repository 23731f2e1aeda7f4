"""A reference parser of event streams (WHATWG HTML §9.2.5 and §9.2.6), for what is encoded here.

It interprets a stream as a browser does, and raises on what a browser would pass over in silence:
bytes that are not UTF-8, comments, unknown fields, an id with NUL, a reconnection time that is no
number, fields that no blank line dispatches. So nothing we encode can lean on leniency.
"""

import re
from dataclasses import dataclass, field

_LINE = re.compile(r"([^\r\n]*)(?:\r\n|\n|\r)")
_BYTE_ORDER_MARK = "\ufeff"


@dataclass(frozen=True)
class Event:
    """One event as an EventSource dispatches it."""

    type: str
    data: str
    last_event_id: str


@dataclass
class EventStream:
    """What a client knows after a stream's bytes.

    Attributes:
        events: in the order of their dispatch.
        last_event_id: what the client sends when it comes back.
        retry_ms: the reconnection time, None when the stream did not set one.
    """

    events: list[Event] = field(default_factory=list)
    last_event_id: str = ""
    retry_ms: int | None = None


def parse_event_stream(stream: bytes) -> EventStream:
    """Return what a client makes of a whole stream; raises ValueError where it would pass over."""
    parsed = EventStream()
    text = stream.decode().removeprefix(_BYTE_ORDER_MARK)
    lines = [match[1] for match in _LINE.finditer(text)]
    if text and not text.endswith(("\r", "\n")):
        raise ValueError(f"the stream ends inside a line: {text[-80:]!r}")
    event_type, event_id, data = "", "", list[str]()
    pending = False
    for line in lines:
        if not line:
            parsed.last_event_id = event_id
            if data:
                parsed.events.append(Event(event_type or "message", "\n".join(data), event_id))
            event_type, data, pending = "", [], False
            continue
        pending = True
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            event_type = value
        elif name == "data":
            data.append(value)
        elif name == "id" and "\0" not in value:
            event_id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            parsed.retry_ms = int(value)
        else:
            raise ValueError(f"a client ignores the line {line!r}")
    if pending:
        raise ValueError("the stream ends inside an event")
    return parsed

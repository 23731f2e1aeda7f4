"""Entries of the event log, as webhooks see them."""

from collections.abc import Sequence
from dataclasses import dataclass

from sse_node.errors import PublisherError
from sse_node.wire.envelope import USER_EVENTS, decode_envelope, user_of


@dataclass(frozen=True, slots=True)
class Event:
    """An entry of the log; one that is for no user has no user.

    Attributes:
        id: of the entry.
        user: whose event it is; empty for none.
        event_type: of the event.
        data: of the event, JSON.
    """

    id: str
    user: str = ""
    event_type: str = ""
    data: bytes = b""


def event_of(entry_id: bytes, fields: Sequence[bytes]) -> Event:
    """Return the event of an entry; channels' events and marks are for no user."""
    by_name = dict(zip(fields[::2], fields[1::2], strict=True))
    payload = by_name.get(b"payload", b"")
    if by_name.get(b"channel") != USER_EVENTS:
        return Event(entry_id.decode())
    try:
        envelope = decode_envelope(payload, len(payload))
        return Event(entry_id.decode(), user_of(envelope), envelope.event_type, envelope.data)
    except PublisherError:  # nodes have counted it
        return Event(entry_id.decode())

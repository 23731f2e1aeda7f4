"""Messages of webhooks: JSON in a queue, and the content and headers of the request that sends one.

In a queue a message is `{"id":…,"eventType":…,"data":…}`. Its content is what Standard Webhooks
recommends, `{"type":…,"timestamp":…,"data":…}`, with the user.
"""

from datetime import UTC, datetime
from typing import Final

import msgspec

_MAX_MS: Final = 253_402_300_799_999  # the last of the year 9999


class Message(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A message in a queue.

    Attributes:
        id: of the event, or of what is no event; begins with its Unix time in ms and a hyphen.
        event_type: of the event.
        data: of the event, the publisher's bytes.
    """

    id: str
    event_type: str
    data: msgspec.Raw

    def content(self, user: str) -> bytes:
        """Return the content of the request that sends it."""
        return msgspec.json.encode(
            {
                "type": self.event_type,
                "timestamp": _as_text(int(self.id.partition("-")[0])),
                "userId": user,
                "data": self.data,
            }
        )


_decoder = msgspec.json.Decoder(Message)


def encode_message(event_id: str, event_type: str, data: bytes) -> bytes:
    """Return a message as it stands in a queue; `data` is JSON."""
    return b'{"id":"%b","eventType":"%b","data":%b}' % (
        event_id.encode(),
        event_type.encode(),
        data,
    )


def decode_message(text: bytes) -> Message:
    """Return the message of a queue."""
    return _decoder.decode(text)


def _as_text(ms: int) -> str:
    moment = datetime.fromtimestamp(min(ms, _MAX_MS) / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

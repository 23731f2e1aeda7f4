"""What event a record is: a message of sse-node, a CloudEvent, or JSON with places given for it.

A message is `{"userId" or "channel", "eventType", "data"}`. A CloudEvent (1.0) is structured, its
whole in the value, or binary, its attributes in headers. Whatever the form, a record gives what
nodes accept from Redis, or is bad.
"""

from collections.abc import Mapping as Members
from typing import Any, Final, NamedTuple

import msgspec

from sse_node.bridges.place import Place
from sse_node.bridges.record import Record
from sse_node.errors import PublisherError
from sse_node.wire.channels import Channels
from sse_node.wire.envelope import (
    CHANNEL_EVENTS,
    EVENT_TYPE_EXPECTED,
    USER_EVENTS,
    USER_ID_EXPECTED,
    decode_envelope,
    encode_channel_envelope,
    encode_envelope,
    is_event_type,
    is_user_id,
)

_VERSION: Final = "1.0"
# Kafka's binding has the first, AMQP's the others; HTTP's is what some producers send.
_PREFIXES: Final = ("ce_", "cloudevents:", "cloudevents_", "ce-")
_NULL: Final = b"null"


class Places(NamedTuple):
    """Where the parts of an event are in records that are neither messages nor CloudEvents.

    Attributes:
        user: of the user's id; None when `channel` is given.
        channel: of the channel's name.
        event_type: of the event type.
    """

    user: Place | None
    channel: Place | None
    event_type: Place


class _Value(msgspec.Struct, rename="camel"):
    """A message, or a CloudEvent in structured mode; other members are ignored."""

    event_type: str | None = None
    user_id: str | int | None = None
    channel: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"null")
    specversion: str | None = None
    type: str | None = None
    subject: str | None = None
    data_base64: msgspec.Raw | msgspec.UnsetType = msgspec.field(
        default=msgspec.UNSET, name="data_base64"
    )


_decode_value = msgspec.json.Decoder(_Value).decode
_decode_raw = msgspec.json.Decoder(msgspec.Raw).decode


class Mapping:
    """Makes events of records; lives as long as the bridge.

    Args:
        channels: that may be published to.
        max_event_bytes: the largest payload published.
        places: None for records that are messages or CloudEvents.
    """

    def __init__(
        self, channels: Channels, max_event_bytes: int, places: Places | None = None
    ) -> None:
        self._channels = channels
        self._max_event_bytes = max_event_bytes
        self._places = places

    def event_of(self, record: Record) -> tuple[str, bytes]:
        """Return the Redis channel and the payload of the event that a record is.

        Raises:
            PublisherError: no event can be made of it.
        """
        try:
            channel, payload = self._event_of(record)
        except UnicodeDecodeError as exc:
            raise PublisherError("not-utf8", f"the record is not UTF-8: {exc.reason}") from exc
        except msgspec.ValidationError as exc:
            raise PublisherError("bad-field", f"value: {exc}") from exc
        except msgspec.DecodeError as exc:
            raise PublisherError("not-json", f"value: {exc}") from exc
        except RecursionError as exc:
            raise PublisherError("too-deep", "value: nested too deep") from exc
        decode_envelope(payload, self._max_event_bytes)  # as nodes will
        return channel, payload

    def _event_of(self, record: Record) -> tuple[str, bytes]:
        if (places := self._places) is not None:
            name = (places.user or places.channel or places.event_type)(record)
            user, channel = (name, None) if places.user else (None, name)
            return self._encode(user, channel, places.event_type(record), _data_of(record))
        if (attributes := _attributes_of(record.headers)) is not None:
            return self._cloudevent(attributes, _data_of(record))
        if record.value is None:
            raise PublisherError("bad-field", "the record has no value")
        value = _decode_value(record.value)
        if value.specversion is not None:
            if value.data_base64 is not msgspec.UNSET:
                raise PublisherError("bad-field", "data_base64: expected data, which is JSON")
            return self._cloudevent(msgspec.structs.asdict(value), bytes(value.data))
        if value.event_type is None:
            raise PublisherError("bad-field", "eventType and specversion are missing")
        user = None if value.user_id is None else str(value.user_id)
        return self._encode(user, value.channel, value.event_type, bytes(value.data))

    def _cloudevent(self, attributes: Members[str, Any], data: bytes) -> tuple[str, bytes]:
        """Return the event of a CloudEvent: its channel counts, else its subject is the user."""
        if attributes["specversion"] != _VERSION:
            found = f"{attributes['specversion']!r:.40}"
            raise PublisherError("bad-field", f"specversion {found}: expected {_VERSION}")
        channel = attributes.get("channel")
        user = attributes.get("subject") if channel is None else None
        if user is None and channel is None:
            raise PublisherError("bad-field", "subject is missing; expected the user's id")
        return self._encode(user, channel, attributes.get("type") or "", data)

    def _encode(
        self, user: str | None, channel: str | None, event_type: str, data: bytes
    ) -> tuple[str, bytes]:
        if not is_event_type(event_type):
            raise PublisherError(
                "bad-field", f"event type {event_type!r:.80}: expected {EVENT_TYPE_EXPECTED}"
            )
        if user is not None and channel is None:
            if not is_user_id(user):
                raise PublisherError(
                    "bad-field", f"user {user!r:.140}: expected {USER_ID_EXPECTED}"
                )
            return USER_EVENTS.decode(), encode_envelope(user, event_type, data, broadcast=False)
        if channel is None or user is not None:
            raise PublisherError("bad-field", "userId or channel: expected exactly one of them")
        if channel not in self._channels:
            raise PublisherError(
                "bad-field", f"channel {channel!r:.80}: expected one of {self._channels}"
            )
        if channel in self._channels.fixed:
            return channel, encode_envelope(channel, event_type, data, broadcast=True)
        return CHANNEL_EVENTS.decode(), encode_channel_envelope(channel, event_type, data)


def _data_of(record: Record) -> bytes:
    """Return the value, which is JSON and the event's data; null for none."""
    return bytes(_decode_raw(record.value)).strip() if record.value is not None else _NULL


def _attributes_of(headers: Members[str, bytes]) -> dict[str, str] | None:
    """Return the attributes of a CloudEvent in binary mode, None for another record."""
    for prefix in _PREFIXES if headers else ():
        if f"{prefix}specversion" in headers:
            return {
                name.removeprefix(prefix): value.decode()
                for name, value in headers.items()
                if name.startswith(prefix)
            }
    return None

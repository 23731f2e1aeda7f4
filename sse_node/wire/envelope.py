"""The contract with publishers: a payload from Redis to an envelope, an envelope to a frame.

A payload is a JSON object: `{"id"?, "userId", "eventType", "data"}` on channel `user-events`, with
`channel` instead of `userId` on `channel-events`, and without both on the channel of a fixed name.
The bytes of `data` are never re-encoded; only line breaks between its tokens become spaces, because
a frame's data is one line (WHATWG HTML §9.2.6).
"""

import re
from functools import lru_cache
from typing import Final, Literal, overload

import msgspec

from sse_node.errors import PublisherError
from sse_node.wire.depth import MAX_DEPTH, TOO_DEEP, is_deeper, seems_deeper
from sse_node.wire.event_id import format_position, make_position

USER_EVENTS: Final = b"user-events"
CHANNEL_EVENTS: Final = b"channel-events"
SYSTEM_EVENTS: Final = "system-events"
ANALYTICS_EVENTS: Final = "analytics-events"

DropReason = Literal["too-large", "not-utf8", "not-json", "too-deep", "bad-field"]
DROP_REASONS: Final[tuple[DropReason, ...]] = (
    "too-large",
    "not-utf8",
    "not-json",
    "too-deep",
    "bad-field",
)

USER_ID_EXPECTED: Final = (
    '1 to 255 printable ASCII characters without space, " and \\, and not . or ..'
)
CHANNEL_EXPECTED: Final = (
    '1 to 255 printable ASCII characters without space, comma, " and \\, and not user:…'
)
EVENT_TYPE_EXPECTED: Final = (
    "1 to 64 of A-Z a-z 0-9 _ . : -, and not the reserved open, error, message, ping, sse.*"
)

# A `sub` of OpenID Connect has up to 255 ASCII characters. `"` and `\` would need escapes in JSON;
# `.` and `..` vanish from paths; a comma separates channels, in `?channels=` also as `%2C`;
# `user:ID` means a user in rights.
_USER_ID = re.compile(r"(?!\.\.?\Z)[!#-\[\]-~]{1,255}")
_CHANNEL = re.compile(r"(?!user:)[!#-+\--\[\]-~]{1,255}")
_EVENT_TYPE = re.compile(r"(?!(?:open|error|message|ping)\Z|sse\.)[A-Za-z0-9_.:-]{1,64}", re.ASCII)
_OPENING_BRACE, _QUOTE = b'{"'
_LF, _CR = b"\n\r"  # as numbers, which are looked for three times as fast as bytes of length 1
_ID_MEMBERS = re.compile(rb'{("id":"(\d{1,20})-(\d{1,20})",(?:"log":"(\w{1,40})",)?)')
# Distinct event types whose check is remembered. Arbitrary, larger than a deployment has; a miss
# costs a regex.
_REMEMBERED: Final = 4096


class Envelope(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A decoded payload, before its fields are checked."""

    event_type: str
    data: msgspec.Raw
    user_id: str | int | None = None


class ChannelEnvelope(Envelope, frozen=True, gc=False, rename="camel"):
    """A decoded payload of `channel-events`, before its fields are checked."""

    channel: str | None = None


_decode = msgspec.json.Decoder(Envelope).decode
_decode_named = msgspec.json.Decoder(ChannelEnvelope).decode
# JSON of this many bytes cannot be too deep: the data and the payload around it open and close.
_NEVER_TOO_DEEP_BYTES: Final = 2 * (MAX_DEPTH + 1)
_accepted_event_types: set[str] = set()


def is_user_id(value: str) -> bool:
    """Return whether `value` may name a user."""
    return _USER_ID.fullmatch(value) is not None


def is_channel_name(value: str) -> bool:
    """Return whether `value` may name a channel."""
    return _CHANNEL.fullmatch(value) is not None


def is_event_type(value: str) -> bool:
    """Return whether a publisher may use `value` as an event type."""
    return _EVENT_TYPE.fullmatch(value) is not None


@overload
def decode_envelope(payload: bytes, max_bytes: int) -> Envelope: ...


@overload
def decode_envelope(payload: bytes, max_bytes: int, named: Literal[True]) -> ChannelEnvelope: ...


def decode_envelope(payload: bytes, max_bytes: int, named: bool = False) -> Envelope:
    """Return the envelope of a payload.

    Args:
        payload: what Redis pushed: untrusted bytes.
        max_bytes: the largest event accepted; the members that `insert_id` adds come on top.
        named: it came on `channel-events`; on other channels a member `channel` is ignored.

    Raises:
        PublisherError: too large, not UTF-8, not JSON, nested too deep, a field is missing or of a
            wrong kind, or the event type is not one that a publisher may use.
    """
    if len(payload) > max_bytes and _bytes_without_id(payload) > max_bytes:
        raise PublisherError(
            "too-large", f"payload of {len(payload)} bytes; at most {max_bytes} are accepted"
        )
    try:
        if not payload.isascii():
            payload.decode()  # msgspec does not look into the bytes of a Raw
        envelope = _decode_named(payload) if named else _decode(payload)
    except UnicodeDecodeError as exc:
        raise PublisherError("not-utf8", f"payload is not UTF-8: {exc.reason}") from exc
    except msgspec.ValidationError as exc:
        raise PublisherError("bad-field", f"payload: {exc}") from exc
    except msgspec.DecodeError as exc:
        raise PublisherError("not-json", f"payload: {exc}") from exc
    except RecursionError as exc:
        raise PublisherError("too-deep", f"payload: {TOO_DEEP}") from exc
    if (
        len(payload) > _NEVER_TOO_DEEP_BYTES
        and seems_deeper(payload, MAX_DEPTH + 1)
        and is_deeper(payload, MAX_DEPTH + 1)
    ):
        raise PublisherError("too-deep", f"payload: {TOO_DEEP}")
    if envelope.event_type not in _accepted_event_types:
        _check_event_type(envelope.event_type)
    return envelope


def _check_event_type(event_type: str) -> None:
    """Accept an event type from now on, without matching it again."""
    if not is_event_type(event_type):
        raise PublisherError(
            "bad-field", f"eventType {event_type!r:.80}; expected {EVENT_TYPE_EXPECTED}"
        )
    if len(_accepted_event_types) >= _REMEMBERED:
        _accepted_event_types.clear()
    _accepted_event_types.add(event_type)


def _bytes_without_id(payload: bytes) -> int:
    id_members = _ID_MEMBERS.match(payload)
    return len(payload) - (len(id_members[1]) if id_members else 0)


def user_of(envelope: Envelope) -> str:
    """Return the user an envelope is for; a JSON integer is taken as its decimal digits.

    Raises:
        PublisherError: no userId, or not one.
    """
    if envelope.user_id is None:
        raise PublisherError("bad-field", f"userId is missing; expected {USER_ID_EXPECTED}")
    user = envelope.user_id if type(envelope.user_id) is str else str(envelope.user_id)
    if not is_user_id(user):
        raise PublisherError("bad-field", f"userId {user!r:.140}; expected {USER_ID_EXPECTED}")
    return user


def channel_of(envelope: ChannelEnvelope) -> str:
    """Return the channel that an envelope of `channel-events` is for.

    Raises:
        PublisherError: no channel, or not the name of one.
    """
    channel = envelope.channel
    if channel is None:
        raise PublisherError("bad-field", f"channel is missing; expected {CHANNEL_EXPECTED}")
    if not is_channel_name(channel):
        raise PublisherError("bad-field", f"channel {channel!r:.140}; expected {CHANNEL_EXPECTED}")
    return channel


def position_of(payload: bytes, log_name: bytes | None) -> int | None:
    """Return the position of a payload in an event log, None for one that is not in that log.

    The script that appends to the log puts the id and the log's random name first. Any other `id`
    is the publisher's own business, or belongs to another log.

    Args:
        payload: as Redis pushed it.
        log_name: of the node's event log; None for any log, to show it to people.
    """
    id_members = _ID_MEMBERS.match(payload)
    if id_members is None or not id_members[4] or log_name not in (id_members[4], None):
        return None
    return make_position(int(id_members[2]), int(id_members[3]))


def one_line(data: bytes) -> bytes:
    """Return JSON without line breaks: they can only be between its tokens, and become spaces."""
    if _LF in data or _CR in data:
        return data.replace(b"\n", b" ").replace(b"\r", b" ")
    return data


@lru_cache(_REMEMBERED)
def _data_start(event_type: str, event_names: bool) -> bytes:
    _check_event_type(event_type)
    name = event_type.encode()
    event_field = b"event: %b\n" % name if event_names else b""
    return b'%bdata: {"eventType":"%b"' % (event_field, name)


def encode_frame(envelope: Envelope, position: int | None, *, event_names: bool) -> bytes:
    """Return the frame that every stream gets for an envelope.

    Args:
        envelope: what `decode_envelope` returned.
        position: its position in the log; None leaves the frame without an id.
        event_names: put the event type into the `event` field, too.

    Raises:
        PublisherError: the event type is not one a publisher may use.
    """
    start = _data_start(envelope.event_type, event_names)
    data = one_line(bytes(envelope.data))
    if data[0] != _OPENING_BRACE:
        members = b',"data":%b}' % data
    elif data[1] == _QUOTE or data[1:-1].strip():
        members = b"," + data[1:]
    else:
        members = b"}"
    if position is None:
        return b"%b%b\n\n" % (start, members)
    return b"id: %b\n%b%b\n\n" % (format_position(position), start, members)


def encode_envelope(address: str, event_type: str, data: bytes, *, broadcast: bool) -> bytes:
    """Return the payload of an event, without an id: the log's script puts that in.

    Args:
        address: the user's id, or for a broadcast the fixed name of a channel (which is not part of
            it).
        event_type: accepted by `is_event_type`.
        data: JSON, passed through.
        broadcast: leave the user out.
    """
    user = b"" if broadcast else b'"userId":"%b",' % address.encode()
    return b'{%b"eventType":"%b","data":%b}' % (user, event_type.encode(), data)


def encode_channel_envelope(channel: str, event_type: str, data: bytes) -> bytes:
    """Return the payload of an event for `channel-events`, without an id.

    Args:
        channel: accepted by `is_channel_name`.
        event_type: accepted by `is_event_type`.
        data: JSON, passed through.
    """
    names = (channel.encode(), event_type.encode())
    return b'{"channel":"%b","eventType":"%b","data":%b}' % (*names, data)


def insert_id(payload: bytes, event_id: bytes, log_name: bytes) -> bytes:
    """Return the payload as it is published: first the id of its log entry and the log's name."""
    return b'{"id":"%b","log":"%b",%b' % (event_id, log_name, payload[1:])

"""CloudEvents 1.0 in `POST /events`: structured, batched and binary mode of its HTTP binding.

`subject` is the user, or the extension attribute `channel` names a channel; `type` is the event
type and `data` the data. `source` and `id` together name the event: the idempotency key.
"""

from typing import Annotated, Final
from urllib.parse import unquote

import msgspec

from sse_node.api.event_content import MAX_EVENTS, EventContent, by_place
from sse_node.errors import RequestError
from sse_node.wire.http_head import Request
from sse_node.wire.json_body import decode_content, media_type_of
from sse_node.wire.json_problems import describe_shape

STRUCTURED: Final = "application/cloudevents+json"
BATCHED: Final = "application/cloudevents-batch+json"
_VERSION: Final = "1.0"
_JSON: Final = "application/json"
_PREFIX: Final = b"ce-"
_NULL: Final = msgspec.Raw(b"null")

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]


class _Attributes(msgspec.Struct):
    specversion: str
    id: _Name
    source: _Name
    type: str
    subject: str | msgspec.UnsetType = msgspec.UNSET
    channel: str | msgspec.UnsetType = msgspec.UNSET


class CloudEventContent(_Attributes):
    """One event as a client posts it in structured mode; other attributes are ignored."""

    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    data_base64: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class CloudEvent(msgspec.Struct):
    """One event, and its name.

    Attributes:
        content: as in our own form.
        key: names the event among all of its publisher's, as an idempotency key does.
    """

    content: EventContent
    key: str


_event = msgspec.json.Decoder(CloudEventContent)
CloudEventContents = Annotated[
    list[CloudEventContent], msgspec.Meta(min_length=1, max_length=MAX_EVENTS)
]
_batch = msgspec.json.Decoder(CloudEventContents)
_data = msgspec.json.Decoder(msgspec.Raw)


def is_cloudevents(request: Request) -> bool:
    """Return whether a request carries CloudEvents, in whatever mode and format."""
    is_binary = _PREFIX + b"specversion" in request.headers
    return is_binary or media_type_of(request).startswith("application/cloudevents")


def decode_cloudevents(request: Request) -> dict[str, CloudEvent]:
    """Return the events of a request, by their place in the content.

    Args:
        request: for which `is_cloudevents` holds.

    Raises:
        RequestError: as `decode_content`; 415 for a format other than JSON; 400 for a request
            that has an Idempotency-Key, too; 422 for binary data.
    """
    if b"idempotency-key" in request.headers:
        raise RequestError(400, "Idempotency-Key: expected none, source and id are the key")
    media_type = media_type_of(request)
    if media_type == BATCHED:
        events = decode_content(request, _batch, outer_levels=2, media_type=BATCHED)
        places = by_place(events)
    elif media_type.startswith("application/cloudevents"):
        places = {"": decode_content(request, _event, media_type=STRUCTURED)}
    else:
        places = {"": _binary(request, media_type)}
    return {at: _cloudevent(event, at) for at, event in places.items()}


def _cloudevent(event: CloudEventContent, at: str) -> CloudEvent:
    if event.specversion != _VERSION:
        found = f"{event.specversion!r:.40}"
        raise RequestError(422, f"content: {at}specversion {found}: expected {_VERSION}")
    if event.data_base64 is not msgspec.UNSET:
        raise RequestError(422, f"content: {at}data_base64: expected data, which is JSON")
    data = _NULL if isinstance(event.data, msgspec.UnsetType) else event.data
    content = EventContent(event.type, data, channel=event.channel)
    if event.channel is msgspec.UNSET:
        if event.subject is msgspec.UNSET:
            raise RequestError(422, f"content: {at}subject is missing; expected the user's id")
        content.user_id = event.subject
    return CloudEvent(content, f"{event.source} {event.id}")


def _binary(request: Request, media_type: str) -> CloudEventContent:
    """Return the event whose attributes are headers and whose data is the content."""
    attributes = {
        name.removeprefix(_PREFIX).decode(): _attribute(name, value)
        for name, value in request.headers.items()
        if name.startswith(_PREFIX)
    }
    try:
        event = msgspec.convert(attributes, _Attributes)
    except msgspec.ValidationError as exc:
        raise RequestError(422, f"headers: ce-{describe_shape(str(exc))}") from exc
    data = _NULL
    if request.content:
        expected = media_type if media_type.endswith("+json") else _JSON
        data = decode_content(request, _data, media_type=expected)
    return CloudEventContent(**msgspec.structs.asdict(event), data=data)


def _attribute(name: bytes, value: bytes) -> str:
    """Return an attribute's value: percent-decoded, without the quotes around it."""
    text = value.decode("latin-1")
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError as exc:
        raise RequestError(400, f"{name.decode()}: expected percent-encoded UTF-8") from exc

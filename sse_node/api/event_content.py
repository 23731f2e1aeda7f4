"""The content of `POST /events` in our own form: one event, or an array of events."""

from typing import Annotated, Final, TypeVar

import msgspec

from sse_node.wire.http_head import Request
from sse_node.wire.json_body import decode_content

MAX_EVENTS: Final = 1000

T = TypeVar("T")


class EventContent(msgspec.Struct, rename="camel"):
    """One event as a client posts it; `userId` or `channel`.

    A volatile event is delivered live, without an id, and kept nowhere.
    """

    event_type: str
    data: msgspec.Raw
    user_id: str | msgspec.UnsetType = msgspec.UNSET
    channel: str | msgspec.UnsetType = msgspec.UNSET
    volatile: bool = False


EventContents = Annotated[list[EventContent], msgspec.Meta(min_length=1, max_length=MAX_EVENTS)]
_decoder = msgspec.json.Decoder(EventContent | EventContents)


def by_place(items: list[T]) -> dict[str, T]:
    """Return the items of an array by their place in the content, as errors name it."""
    return {f"[{i}].": item for i, item in enumerate(items)}


def decode_events(request: Request) -> dict[str, EventContent]:
    """Return what a request publishes, by its place in the content.

    Raises:
        RequestError: as `decode_content`.
    """
    content = decode_content(request, _decoder, outer_levels=2)
    return by_place(content) if isinstance(content, list) else {"": content}

"""Publishing over HTTP: `POST /events`."""

from typing import Annotated

import msgspec

from sse_node.api.parameters import idempotency_key_of, query_of
from sse_node.errors import RequestError
from sse_node.redis.event_log import EventLog
from sse_node.wire.envelope import (
    EVENT_TYPE_EXPECTED,
    USER_EVENTS,
    USER_ID_EXPECTED,
    encode_envelope,
    is_event_type,
    is_user_id,
)
from sse_node.wire.http_head import Request, Response, json_response
from sse_node.wire.json_body import decode_content

MAX_EVENTS = 1000


class EventContent(msgspec.Struct, rename="camel"):
    """One event as a client posts it; `userId` or `channel`."""

    event_type: str
    data: msgspec.Raw
    user_id: str | msgspec.UnsetType = msgspec.UNSET
    channel: str | msgspec.UnsetType = msgspec.UNSET


_decoder = msgspec.json.Decoder(
    EventContent | Annotated[list[EventContent], msgspec.Meta(min_length=1, max_length=MAX_EVENTS)]
)


class Events:
    """The resource `/events`; lives as long as the node.

    Args:
        log: where events are published.
        channels: the broadcast channels there are.
        max_event_bytes: the largest payload published.
    """

    def __init__(self, log: EventLog, channels: tuple[str, ...], max_event_bytes: int) -> None:
        self._log = log
        self._channels = channels
        self._max_event_bytes = max_event_bytes

    async def publish(self, request: Request) -> Response:
        """Answer `POST /events`: one event or an array of events, published all or not at all."""
        query_of(request)
        key = idempotency_key_of(request)
        async with self._log.writes:  # before decoding, which takes up to 10 ms for each request
            content = decode_content(request, _decoder)
            if isinstance(content, list):
                events = [self._payload(event, f"[{i}].") for i, event in enumerate(content)]
            else:
                events = [self._payload(content, "")]
            ids = await self._log.publish(events, key)
        return json_response(202, {"ids": ids})

    def _payload(self, event: EventContent, at: str) -> tuple[str, bytes]:
        if not is_event_type(event.event_type):
            raise RequestError(
                422,
                f"content: {at}eventType {event.event_type!r:.80}: expected {EVENT_TYPE_EXPECTED}",
            )
        channel, address = self._address(event, at)
        payload = encode_envelope(
            address, event.event_type, bytes(event.data), broadcast=channel != USER_EVENTS.decode()
        )
        if len(payload) > self._max_event_bytes:
            raise RequestError(
                413, f"content: {at}data: at most {self._max_event_bytes} bytes for an event"
            )
        return channel, payload

    def _address(self, event: EventContent, at: str) -> tuple[str, str]:
        user_id, channel = event.user_id, event.channel
        if isinstance(user_id, str) and channel is msgspec.UNSET:
            if not is_user_id(user_id):
                raise RequestError(
                    422, f"content: {at}userId {user_id!r:.140}: expected {USER_ID_EXPECTED}"
                )
            return USER_EVENTS.decode(), user_id
        if isinstance(channel, str) and user_id is msgspec.UNSET:
            if channel not in self._channels:
                raise RequestError(
                    422,
                    f"content: {at}channel {channel!r:.80}: expected one of "
                    + ", ".join(self._channels),
                )
            return channel, channel
        raise RequestError(422, f"content: {at}userId or channel: expected exactly one of them")

"""Publishing over HTTP: `POST /events`."""

from collections.abc import Iterable

import msgspec

from sse_node.access.limits import Limits
from sse_node.access.rules import denied
from sse_node.api.cloudevents import CloudEvent, decode_cloudevents, is_cloudevents
from sse_node.api.event_content import EventContent, decode_events
from sse_node.api.parameters import idempotency_key_of, query_of
from sse_node.errors import RequestError
from sse_node.redis.event_log import NO_ID, volatile
from sse_node.redis.event_logs import EventLogs, Publication
from sse_node.redis.keys import idempotency_name
from sse_node.wire.channels import Channels
from sse_node.wire.depth import MAX_DEPTH, TOO_DEEP, is_deeper
from sse_node.wire.envelope import (
    CHANNEL_EVENTS,
    EVENT_TYPE_EXPECTED,
    USER_EVENTS,
    USER_ID_EXPECTED,
    encode_channel_envelope,
    encode_envelope,
    is_event_type,
    is_user_id,
)
from sse_node.wire.http_head import Request, Response, json_response
from sse_node.wire.identity import Identity


class Events:
    """The resource `/events`; lives as long as the node.

    Args:
        logs: where events are published.
        channels: that may be published to.
        max_event_bytes: the largest payload published.
        limits: of callers; None for no limit.
    """

    def __init__(
        self,
        logs: EventLogs,
        channels: Channels,
        max_event_bytes: int,
        limits: Limits | None = None,
    ) -> None:
        self._logs = logs
        self._channels = channels
        self._max_event_bytes = max_event_bytes
        self._limits = limits

    async def publish(self, request: Request) -> Response:
        """Answer `POST /events`: one event or an array of events, each shard's all or not at all.

        Of a batch of CloudEvents each is published alone, under the key that is its own.
        """
        query_of(request)
        async with self._logs.writes:  # before decoding, which takes up to 10 ms for each request
            if is_cloudevents(request):
                ids = await self._publish_cloudevents(request, decode_cloudevents(request))
            else:
                ids = await self._publish(request, decode_events(request))
        return json_response(202, {"ids": [None if each == NO_ID else each for each in ids]})

    async def _publish(self, request: Request, events: dict[str, EventContent]) -> list[str]:
        key = idempotency_key_of(request)
        payloads = self._payloads(request, events)
        scope = _scope_of(request.identity, events.values())
        return await self._logs.publish(payloads, idempotency_name("POST /events", scope, key))

    async def _publish_cloudevents(
        self, request: Request, events: dict[str, CloudEvent]
    ) -> list[str]:
        contents = {at: event.content for at, event in events.items()}
        payloads = self._payloads(request, contents)
        ids = []
        for (at, event), payload in zip(events.items(), payloads, strict=True):
            scope = _scope_of(request.identity, [event.content])
            name = idempotency_name("POST /events cloudevents", scope, event.key)
            try:
                ids += await self._logs.publish([payload], name)
            except RequestError as error:
                what = "another event had this source and id, with other data"
                raise RequestError(error.status, f"content: {at}id: {what}") from error
        return ids

    def _payloads(self, request: Request, events: dict[str, EventContent]) -> list[Publication]:
        """Return what to publish of each event, all of which the caller may publish."""
        payloads = [self._payload(request.identity, event, at) for at, event in events.items()]
        if self._limits is not None:
            self._limits.count_events(request, len(payloads))
        return payloads

    def _payload(self, identity: Identity, event: EventContent, at: str) -> Publication:
        if not is_event_type(event.event_type):
            raise RequestError(
                422,
                f"content: {at}eventType {event.event_type!r:.80}: expected {EVENT_TYPE_EXPECTED}",
            )
        if is_deeper(bytes(event.data), MAX_DEPTH):
            raise RequestError(400, f"content: {at}data: {TOO_DEEP}")
        channel, payload = self._encode(event, at)
        is_user = isinstance(event.user_id, str)
        may_publish = identity.may_publish_to_user if is_user else identity.may_publish_to_channel
        if not may_publish(str(event.user_id if is_user else event.channel)):
            raise denied(identity, f"content: {at}expected a right to publish there")
        if len(payload) > self._max_event_bytes:
            raise RequestError(
                413, f"content: {at}data: at most {self._max_event_bytes} bytes for an event"
            )
        user = str(event.user_id) if is_user else ""
        return Publication(user, volatile(channel) if event.volatile else channel, payload)

    def _encode(self, event: EventContent, at: str) -> tuple[str, bytes]:
        """Return the Redis channel and the payload of an event."""
        user_id, channel = event.user_id, event.channel
        event_type, data = event.event_type, bytes(event.data)
        if isinstance(user_id, str) and channel is msgspec.UNSET:
            if not is_user_id(user_id):
                raise RequestError(
                    422, f"content: {at}userId {user_id!r:.140}: expected {USER_ID_EXPECTED}"
                )
            payload = encode_envelope(user_id, event_type, data, broadcast=False)
            return USER_EVENTS.decode(), payload
        if isinstance(channel, str) and user_id is msgspec.UNSET:
            if channel not in self._channels:
                raise RequestError(
                    422,
                    f"content: {at}channel {channel!r:.80}: expected one of {self._channels}",
                )
            if channel in self._channels.fixed:
                return channel, encode_envelope(channel, event_type, data, broadcast=True)
            return CHANNEL_EVENTS.decode(), encode_channel_envelope(channel, event_type, data)
        raise RequestError(422, f"content: {at}userId or channel: expected exactly one of them")


def _scope_of(identity: Identity, events: Iterable[EventContent]) -> str:
    """Return who has chosen an idempotency key: the caller, or without a name the events' user."""
    users = {event.user_id or "" for event in events}
    return identity.caller or (users.pop() if len(users) == 1 else "")

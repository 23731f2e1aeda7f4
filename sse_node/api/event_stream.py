"""`GET /events/sse` and `/events/sse/{userId}`: which stream a request asks for.

What memory cannot prove is read from the event log first; what the log cannot prove either is
`sse.reset`.
"""

from collections.abc import Awaitable
from typing import Final

from sse_node.config.sections import EventsSettings
from sse_node.delivery.history import Entry, History
from sse_node.delivery.hub import channel_audience
from sse_node.errors import PositionLostError, RequestError
from sse_node.redis.replay import LogReplay
from sse_node.streams.opening import Opening, StreamPlan
from sse_node.wire.envelope import SYSTEM_EVENTS, USER_ID_EXPECTED, is_user_id
from sse_node.wire.event_id import parse_position
from sse_node.wire.http_head import Request, Response

_EVERY_STREAM_HAS: Final = (channel_audience(SYSTEM_EVENTS),)


class EventStreamResource:
    """The event stream of a user; lives as long as the node.

    Args:
        opening: opens and refuses streams.
        history: knows which ids memory can replay from.
        log_replay: replays that memory cannot prove.
        settings: the default user, and the channels a client may ask for.
    """

    def __init__(
        self,
        opening: Opening,
        history: History,
        log_replay: LogReplay,
        settings: EventsSettings,
    ) -> None:
        self._opening = opening
        self._history = history
        self._log_replay = log_replay
        self._default_user = settings.default_user
        self._channels = settings.broadcast_channels

    def get(self, request: Request) -> Response | StreamPlan | Awaitable[Response | StreamPlan]:
        """Answer `GET /events/sse` or `GET /events/sse/{userId}`.

        Raises:
            RequestError: 400, the user id or a channel is not valid.
        """
        user = request.path_parameters.get("userId", self._default_user)
        if not is_user_id(user):
            raise RequestError(400, f"userId {user!r:.140}: expected {USER_ID_EXPECTED}")
        parameters = request.query_parameters()
        channels = ",".join(parameters.get("channels", ()))
        plan = StreamPlan(self._opening, user, self._channel_audiences(channels))
        if request.method == "HEAD":
            plan.head_only = True
            return plan
        if refusal := self._opening.refusal():
            return refusal
        last_event_id = (
            request.header(b"last-event-id")
            or parameters.get("lastEventId", [""])[-1]  # polyfills append it to what was there
            or parameters.get("last_event_id", [""])[-1]
        )
        if not last_event_id:
            return plan
        position = parse_position(last_event_id)
        if position is None:
            plan.reset_reason = "bad-id"
            return plan
        if self._history.contains(position):
            plan.resume_at = position
            return plan
        return self._resume_from_log(plan, position)

    def _channel_audiences(self, channels: str) -> tuple[str, ...]:
        if not channels:
            return _EVERY_STREAM_HAS
        names = {SYSTEM_EVENTS, *filter(None, channels.split(","))}
        if unknown := names.difference(self._channels, (SYSTEM_EVENTS,)):
            raise RequestError(
                400,
                f"channels {min(unknown)!r:.80}: expected some of " + ", ".join(self._channels),
            )
        return tuple(channel_audience(name) for name in sorted(names))

    async def _resume_from_log(self, plan: StreamPlan, position: int) -> Response | StreamPlan:
        audiences = (plan.user, *plan.channels)
        entries: list[Entry] = []
        reached = position
        try:
            while not self._history.contains(reached):
                found, reached = await self._log_replay.entries_since(reached, audiences)
                entries += found
        except PositionLostError as lost:
            plan.reset_reason = lost.reason
        if refusal := self._opening.refusal():
            return refusal
        if plan.reset_reason != "unknown-id" and position > self._history.position:
            # This node is behind. Told to go on from here, the client would see events again.
            return self._opening.refuse("not-serving")
        if not plan.reset_reason:
            plan.resume_at = position
            plan.entries = entries + self._history.since(reached, audiences)
        return plan

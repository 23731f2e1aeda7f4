"""`GET /events/sse` and `/events/sse/{userId}`: which stream a request asks for.

What memory cannot prove is read from the event log first; what the log cannot prove either is
`sse.reset`.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol

from sse_node.access.rules import denied
from sse_node.api.parameters import bounded_number
from sse_node.config.sections import EventsSettings
from sse_node.delivery.history import Entry, History
from sse_node.delivery.hub import channel_audience
from sse_node.errors import PositionLostError, RequestError
from sse_node.redis.replay import LogReplay
from sse_node.streams.opening import Opening, StreamPlan
from sse_node.wire.envelope import SYSTEM_EVENTS, USER_ID_EXPECTED, is_user_id
from sse_node.wire.event_id import parse_position
from sse_node.wire.http_head import Request, Response
from sse_node.wire.identity import Identity, Patterns

MAX_CHANNELS: Final = 50
MAX_REPLAY: Final = 1000
_EVERY_STREAM_HAS: Final[tuple[str, ...]] = (channel_audience(SYSTEM_EVENTS),)


class Replays(Protocol):
    """What a shard has for new streams."""

    @property
    def history(self) -> History:
        """Knows which ids memory can replay from."""

    @property
    def replay(self) -> LogReplay:
        """Replays that memory cannot prove."""

    @property
    def serving(self) -> bool:
        """Whether the history has been filled."""

    async def want(self) -> bool:
        """Subscribe to it, if that is not so; return whether streams can be opened."""


class EventStreamResource:
    """The event stream of a user; lives as long as the node.

    Args:
        opening: opens and refuses streams.
        shard_of: returns the shard of a stream, by its first audience.
        settings: the default user, and the channels a client may ask for.
    """

    def __init__(
        self,
        opening: Opening,
        shard_of: Callable[[str], Replays],
        settings: EventsSettings,
    ) -> None:
        self._opening = opening
        self._shard_of = shard_of
        self._default_user = settings.default_user
        self._channels = settings.known_channels
        self._public_channels = Patterns(settings.public_channels)

    def get(self, request: Request) -> Response | StreamPlan | Awaitable[Response | StreamPlan]:
        """Answer `GET /events/sse` or `GET /events/sse/{userId}`.

        Raises:
            RequestError: 400, the user id, a channel, `since` or `replay` is not valid, or the
                user id is a parameter; 401 or 403, the stream is not for this caller.
        """
        identity = request.identity
        user = self._user_of(request)
        channels = _EVERY_STREAM_HAS
        if parameters := request.query_parameters():
            if "userId" in parameters:
                raise RequestError(400, "userId: expected in the path, as in /events/sse/ann")
            if names := self._channels_of(parameters.get("channels", []), identity):
                names |= {SYSTEM_EVENTS} if user is not None else set()
                channels = tuple(channel_audience(name) for name in sorted(names))
        if user is None and channels is _EVERY_STREAM_HAS:
            raise denied(identity, "expected public channels, or a token")
        since, count = _first_events(parameters) if parameters else (None, 0)
        shard = self._shard_of(channels[0] if user is None else user)
        plan = StreamPlan(self._opening, user, channels, shard.history, identity, request.client)
        if request.method == "HEAD":
            plan.head_only = True
            return plan
        if refusal := self._opening.refusal(request.client):
            return refusal
        if not shard.serving:
            return self._get_when_serving(shard, request)
        last_event_id = request.header(b"last-event-id")
        if parameters and not last_event_id:
            last_event_id = (
                parameters.get("lastEventId", [""])[-1]  # polyfills append it to what was there
                or parameters.get("last_event_id", [""])[-1]
            )
        if not last_event_id and since is None:
            return self._begin_with_last(plan, shard.replay, count) if count else plan
        position = parse_position(last_event_id) if last_event_id else since
        if position is None:
            plan.reset_reason = "bad-id"
            return plan
        if plan.history.contains(position):
            plan.resume_at = position
            return plan
        return self._resume_from_log(plan, shard.replay, position)

    async def _get_when_serving(self, shard: Replays, request: Request) -> Response | StreamPlan:
        """Answer when the shard has been subscribed to, or refuse."""
        if not await shard.want():
            return self._opening.refuse("not-serving")
        answer = self.get(request)
        if isinstance(answer, Awaitable):
            return await answer
        if isinstance(answer, StreamPlan):
            answer.has_waited = True
        return answer

    def _user_of(self, request: Request) -> str | None:
        """Return whose stream a request asks for; None for public channels alone."""
        identity = request.identity
        if "userId" not in request.path_parameters and not identity.is_anyone:
            return identity.user
        user = request.path_parameters.get("userId", self._default_user)
        if not is_user_id(user):
            raise RequestError(400, f"userId {user!r:.140}: expected {USER_ID_EXPECTED}")
        if not (identity.is_anyone or identity.may_act_as(user)):
            raise denied(identity, "expected the user's own stream")
        return user

    def _channels_of(self, values: list[str], identity: Identity) -> set[str]:
        """Return the channels that a request names, without the one that every user has."""
        names = {name for value in values for name in value.split(",")} - {"", SYSTEM_EVENTS}
        if len(names) > MAX_CHANNELS:
            raise RequestError(400, f"channels: expected at most {MAX_CHANNELS}, got {len(names)}")
        if unknown := [name for name in names if name not in self._channels]:
            raise RequestError(
                400, f"channels {min(unknown)!r:.80}: expected some of {self._channels}"
            )
        public = self._public_channels
        if forbidden := [
            name for name in names if not (public.match(name) or identity.may_listen(name))
        ]:
            raise denied(
                identity, f"channels {min(forbidden)!r:.80}: expected some that the token lists"
            )
        return names

    def _begin_with_last(
        self, plan: StreamPlan, log_replay: LogReplay, count: int
    ) -> StreamPlan | Awaitable[Response | StreamPlan]:
        plan.start, plan.entries = plan.history.last(count, plan.audiences)
        if len(plan.entries) == count or log_replay.memory_is_whole:
            return plan
        return self._begin_with_last_of_log(plan, log_replay, count)

    async def _begin_with_last_of_log(
        self, plan: StreamPlan, log_replay: LogReplay, count: int
    ) -> Response | StreamPlan:
        audiences = plan.audiences
        plan.has_waited = True
        try:
            (start, entries), reached = await log_replay.last_entries(count, audiences)
            while not plan.history.contains(reached):
                found, reached = await log_replay.entries_since(reached, audiences)
                entries += found
            entries += plan.history.since(reached, audiences)
        except PositionLostError:  # nothing is promised of earlier events: what memory has
            start, entries = plan.history.last(count, audiences)
        if refusal := self._opening.refusal():
            return refusal
        if len(entries) > count:
            start = entries[-count - 1][0]
        plan.start, plan.entries = start, entries[-count:]
        return plan

    async def _resume_from_log(
        self, plan: StreamPlan, log_replay: LogReplay, position: int
    ) -> Response | StreamPlan:
        audiences = plan.audiences
        plan.has_waited = True
        entries: list[Entry] = []
        reached = position
        try:
            while not plan.history.contains(reached):
                found, reached = await log_replay.entries_since(reached, audiences)
                entries += found
        except PositionLostError as lost:
            plan.reset_reason = lost.reason
        if refusal := self._opening.refusal():
            return refusal
        if plan.reset_reason != "unknown-id" and position > plan.history.position:
            # This node is behind. Told to go on from here, the client would see events again.
            return self._opening.refuse("not-serving")
        if not plan.reset_reason:
            plan.resume_at = position
            plan.entries = entries + plan.history.since(reached, audiences)
        return plan


def _first_events(parameters: Mapping[str, list[str]]) -> tuple[int | None, int]:
    """Return where a first connection begins: after a position, or with so many last events."""
    since, count = (parameters.get(name, [None])[-1] for name in ("since", "replay"))
    if since is not None and count is not None:
        raise RequestError(400, "since and replay: expected only one of them")
    position = None if since is None else parse_position(since)
    if since is not None and position is None:
        raise RequestError(400, f"since {since!r:.80}: expected the id of an event")
    return position, 0 if count is None else bounded_number("replay", count, MAX_REPLAY, least=0)

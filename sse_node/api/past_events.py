"""A user's past events, in pages: `GET /events`."""

from typing import Final

import msgspec

from sse_node.api.parameters import bounded_parameter, query_of, user_of
from sse_node.errors import RequestError
from sse_node.redis.commands import RedisCommands
from sse_node.redis.event_log import START, EventLog, LogEntry
from sse_node.wire.envelope import decode_envelope
from sse_node.wire.event_id import format_position, parse_position
from sse_node.wire.http_head import Request, Response, json_response
from sse_node.wire.identity import READ_ACCOUNTS

_LISTED: Final = 100
_MAX_LISTED: Final = 1000
# Of the log, whosever they are, for one page.
_MAX_READ: Final = 10_000


class PastEvent(msgspec.Struct, rename="camel"):
    """One event of the log, as its streams had it."""

    id: str
    event_type: str
    data: msgspec.Raw


class PastEventsPage(msgspec.Struct):
    """The answer of `GET /events`.

    Attributes:
        events: of the user, after the position asked for, in order.
        trimmed: whether events may be missing between that position and the first of these.
        next: the position to ask for next; None at the end of the log.
    """

    events: list[PastEvent]
    trimmed: bool
    next: str | None


class PastEvents:
    """Reads the log for a user; lives as long as the node.

    Args:
        commands: the node's connections to Redis.
        log: that is read.
        default_user: whose events when a request names no user.
    """

    def __init__(self, commands: RedisCommands, log: EventLog, default_user: str) -> None:
        self._commands = commands
        self._log = log
        self._default_user = default_user

    async def list(self, request: Request) -> Response:
        """Answer `GET /events`: a page of a user's events; those of channels are not in it.

        A page may have fewer events than `limit` although more follow: it ends after 10,000
        entries of the log.
        """
        query = query_of(request, "userId", "after", "limit")
        user = user_of(request, query, self._default_user, READ_ACCOUNTS)
        limit = bounded_parameter(query, "limit", _LISTED, _MAX_LISTED)
        after = parse_position(query.get("after", "0-0"))
        if after is None:
            raise RequestError(400, f"after {query['after']!r:.60}: expected the id of an event")
        async with self._commands.reads:
            page = await self._page(user, after, limit)
        return json_response(200, page)

    async def _page(self, user: str, after: int, limit: int) -> PastEventsPage:
        trimmed = await self._is_trimmed(after)
        events: list[PastEvent] = []
        read, position = 0, after
        while read < _MAX_READ:
            portion = self._log.portion
            entries = await self._log.read_from(position + 1, portion)
            for entry in entries:
                position = entry.position
                if entry.audience == user:
                    events.append(_past_event(entry))
                    if len(events) == limit:
                        return PastEventsPage(events, trimmed, format_position(position).decode())
            read += len(entries)
            if len(entries) < portion:
                return PastEventsPage(events, trimmed, None)
        return PastEventsPage(events, trimmed, format_position(position).decode())

    async def _is_trimmed(self, after: int) -> bool:
        """Return whether the log cannot show that it has everything after a position."""
        if after:
            _, held = await self._log.find([after])
            return after not in held
        first = await self._log.read_from(0, 1)
        return not first or first[0].mark != START


def _past_event(entry: LogEntry) -> PastEvent:
    envelope = decode_envelope(entry.payload, len(entry.payload))
    return PastEvent(format_position(entry.position).decode(), envelope.event_type, envelope.data)

"""A user's past events, in pages: `GET /events`."""

from collections.abc import Sequence
from typing import Final

import msgspec

from sse_node.api.parameters import bounded_parameter, query_of, user_of
from sse_node.errors import RequestError
from sse_node.redis.event_log import ROLLBACK, START, LogEntry
from sse_node.redis.event_logs import EventLogs
from sse_node.wire.envelope import decode_envelope
from sse_node.wire.event_id import format_position, parse_position
from sse_node.wire.http_head import Request, Response, json_response
from sse_node.wire.identity import READ_ACCOUNTS

_LISTED: Final = 100
_MAX_LISTED: Final = 1000
# Of the log, whosever they are, for one page: takes 40 ms, measured with events of 150 bytes.
_MAX_READ: Final = 10_000
_MAX_READ_BYTES: Final = 32 * 1024 * 1024
_MAX_PAGE_BYTES: Final = 1024 * 1024  # as much as a POST may have


class PastEvent(msgspec.Struct, rename="camel"):
    """One event of the log, as its streams had it."""

    id: str
    event_type: str
    data: msgspec.Raw


class PastEventsPage(msgspec.Struct):
    """The answer of `GET /events`.

    Attributes:
        events: of the user, after the position asked for, in order.
        trimmed: whether events may be missing between that position and the last of these: the
            log no longer has the entry at the position, or Redis has lost events.
        next: the position to ask for next; None at the end of the log.
    """

    events: list[PastEvent]
    trimmed: bool
    next: str | None


class PastEvents:
    """Reads the log for a user; lives as long as the node.

    Args:
        logs: that are read.
        default_user: whose events when a request names no user.
    """

    def __init__(self, logs: EventLogs, default_user: str) -> None:
        self._logs = logs
        self._default_user = default_user

    async def list(self, request: Request) -> Response:
        """Answer `GET /events`: a page of a user's events; those of channels are not in it.

        A page may have fewer events than `limit` although more follow: it ends with the event
        that makes it 1 MiB, or after 10,000 entries or 32 MiB of the log.
        """
        query = query_of(request, "userId", "after", "limit")
        user = user_of(request, query, self._default_user, READ_ACCOUNTS)
        limit = bounded_parameter(query, "limit", _LISTED, _MAX_LISTED)
        after = parse_position(query.get("after", "0-0"))
        if after is None:
            raise RequestError(400, f"after {query['after']!r:.60}: expected the id of an event")
        async with self._logs.reads:
            page = await self._page(user, after, limit)
        return json_response(200, page)

    async def _page(self, user: str, after: int, limit: int) -> PastEventsPage:
        reading = _Reading(user, after, limit)
        log = self._logs.of_user(user)
        while True:
            portion = log.portion + 1
            entries = await log.read_from(reading.position, portion)
            reading.take(entries)
            if reading.is_over:
                reading.page.next = format_position(reading.position).decode()
                return reading.page
            if len(entries) < portion:
                return reading.page


class _Reading:
    """The log read for one page.

    Attributes:
        page: as far as it has been read.
        position: up to which the log has been read.
    """

    def __init__(self, user: str, position: int, limit: int) -> None:
        self._user = user
        self._limit = limit
        self._read = self._read_bytes = self._page_bytes = 0
        self.page = PastEventsPage([], trimmed=False, next=None)
        self.position = position

    def take(self, entries: Sequence[LogEntry]) -> None:
        """Take entries, of which the first one is at the position, until the page is full."""
        self.page.trimmed |= not _continues(entries, self.position)
        for entry in entries:
            if entry.position > self.position:
                self._take(entry)
                if self._is_full:
                    break

    def _take(self, entry: LogEntry) -> None:
        self.position = entry.position
        self._read += 1
        self._read_bytes += len(entry.payload)
        self.page.trimmed |= entry.mark == ROLLBACK
        if entry.audience == self._user:
            self._page_bytes += len(entry.payload)
            self.page.events.append(_past_event(entry))

    @property
    def _is_full(self) -> bool:
        return len(self.page.events) == self._limit or self._page_bytes >= _MAX_PAGE_BYTES

    @property
    def is_over(self) -> bool:
        """Whether the page ends here, though the log may go on."""
        return self._is_full or self._read >= _MAX_READ or self._read_bytes >= _MAX_READ_BYTES


def _continues(entries: Sequence[LogEntry], position: int) -> bool:
    """Return whether a reading from a position on proves that nothing after it was dropped.

    The log is read from its oldest entry on, so the entry at the position has to be there still.
    """
    if not entries:
        return False
    return entries[0].position == position or (not position and entries[0].mark == START)


def _past_event(entry: LogEntry) -> PastEvent:
    envelope = decode_envelope(entry.payload, len(entry.payload))
    return PastEvent(format_position(entry.position).decode(), envelope.event_type, envelope.data)

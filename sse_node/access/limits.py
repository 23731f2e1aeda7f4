"""Limits of requests and events per second: of a client address, a user or an API key.

A request over one is answered 429; an event stream's is refused as long as it lasts, because an
EventSource gives up for good after a 429. The header fields are those of
draft-ietf-httpapi-ratelimit-headers-10.
"""

from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Final, TypeVar

from sse_node.access.client_address import TrustedPeers, counted_as
from sse_node.access.rate_table import RateTable, whole_seconds
from sse_node.config.limits import LimitsSettings
from sse_node.errors import RequestError
from sse_node.http.router import Guard
from sse_node.wire.http_head import Request, Response

REQUESTS_PER_ADDRESS: Final = "requests-per-address"
REQUESTS_PER_CALLER: Final = "requests-per-caller"
EVENTS_PER_CALLER: Final = "events-per-caller"

G = TypeVar("G", Guard, Guard | None)
Refuse = Callable[[str], Response]
"""Returns the answer to an event stream's request that is over the limit of this name."""


class Limit:
    """One limit, with a bucket for each key; lives as long as the node.

    Args:
        name: of its setting: the metric's label, and the policy in header fields.
        rate: per second; 0 for no limit.
        window_s: what may be used at once is the rate times this.
        now: returns seconds that never go back.

    Attributes:
        exceeded: how many requests were over it.
    """

    def __init__(self, name: str, rate: int, window_s: int, now: Callable[[], float]) -> None:
        self.name = name
        self.exceeded = 0
        self._rate = rate
        self._table = RateTable(rate, window_s, now) if rate else None
        self._policy = b'"%b";q=%d;w=%d' % (name.encode(), rate * window_s, window_s)

    def __bool__(self) -> bool:
        return self._table is not None

    def check(
        self, request: Request, key: str, tokens: int = 1, *, is_stream: bool = False
    ) -> RequestError | None:
        """Count a request; its answer gets header fields that say what is left.

        Args:
            request: that is counted.
            key: of the client; an empty one has no limit.
            tokens: how much it is.
            is_stream: it gets no header fields: the heads of many streams are the same.

        Returns:
            The error of a request that is over the limit.
        """
        if self._table is None or not key:
            return None
        level = self._table.take(key, tokens)
        is_empty = level.wait_s > 0
        if is_stream and not is_empty:
            return None
        wait_s = whole_seconds(level.wait_s if is_empty else level.full_in_s)
        remaining = b'"%b";r=%d;t=%d' % (self.name.encode(), level.remaining, wait_s)
        request.rate_limit = (
            *request.rate_limit,
            (b"RateLimit-Policy", self._policy),
            (b"RateLimit", remaining),
        )
        if not is_empty:
            return None
        self.exceeded += 1
        return RequestError(
            429,
            f"expected at most {self._rate} {self.name.replace('-', ' ')} and second; "
            f"retry after {wait_s} s",
            ((b"Retry-After", b"%d" % wait_s),),
        )


class Limits:
    """The limits of one process; lives as long as the node.

    Args:
        settings: the limits.
        trusted: the proxies whose word on the client's address counts.
        now: returns seconds that never go back.

    Attributes:
        all: the limits per second.
        needs_clients: something is counted by client address, here or in `streams`.
    """

    def __init__(
        self,
        settings: LimitsSettings,
        trusted: TrustedPeers,
        now: Callable[[], float] = monotonic,
    ) -> None:
        window_s = settings.rate_window
        self._trusted = trusted
        self._of_address = Limit(REQUESTS_PER_ADDRESS, settings.requests_per_address, window_s, now)
        self._of_caller = Limit(REQUESTS_PER_CALLER, settings.requests_per_caller, window_s, now)
        self._events = Limit(EVENTS_PER_CALLER, settings.events_per_caller, window_s, now)
        self.all = (self._of_address, self._of_caller, self._events)
        self.needs_clients = (
            any(self.all)
            or settings.streams_per_address > 0
            or settings.new_streams_per_address > 0
        )

    def continue_from(self, before: "Limits") -> None:
        """Go on with the counters of the limits that held before."""
        for limit, other in zip(self.all, before.all, strict=True):
            limit.exceeded = other.exceeded

    def guard(self, admit: G, refuse: Refuse | None = None) -> G:
        """Return a guard that counts requests; `admit` itself when there is nothing to count.

        Args:
            admit: authenticates the caller; a request over its address' limit does not reach it.
                None for anyone.
            refuse: answers an event stream's request over a limit; by default it is an error.
        """
        if not self.needs_clients:
            return admit

        is_stream = refuse is not None

        def check(request: Request) -> Response | Awaitable[Response | None] | None:
            if request.is_admin:
                return None if admit is None else admit(request)
            request.client = counted_as(self._trusted.client_of(request))
            over = self._of_address.check(request, request.client, is_stream=is_stream)
            if over is not None:
                return _refusal(over, self._of_address, request, refuse)
            admitted = None if admit is None else admit(request)
            if admitted is None:
                return self._check_caller(request, refuse)
            if isinstance(admitted, Response):
                return admitted
            return self._check_caller_later(admitted, request, refuse)

        return check

    async def _check_caller_later(
        self, admitted: Awaitable[Response | None], request: Request, refuse: Refuse | None
    ) -> Response | None:
        return await admitted or self._check_caller(request, refuse)

    def _check_caller(self, request: Request, refuse: Refuse | None) -> Response | None:
        is_stream = refuse is not None
        over = self._of_caller.check(request, _caller_of(request), is_stream=is_stream)
        return None if over is None else _refusal(over, self._of_caller, request, refuse)

    def count_events(self, request: Request, events: int) -> None:
        """Count the events that a request publishes.

        Raises:
            RequestError: 429, they are over the limit of their caller.
        """
        if not request.is_admin and (
            over := self._events.check(request, _caller_of(request), events)
        ):
            raise over


def _caller_of(request: Request) -> str:
    """Return what a caller is counted by; one without a name is its address."""
    return request.identity.caller or request.client


def _refusal(over: RequestError, limit: Limit, request: Request, refuse: Refuse | None) -> Response:
    if refuse is None:
        raise over
    request.rate_limit = ()
    return refuse(limit.name)

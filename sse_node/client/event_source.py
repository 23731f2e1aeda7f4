"""An event stream that stays open, for `async for` and for `for`."""

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Final

import httpx

from sse_node.client.state import Event, StreamState
from sse_node.errors import AccessEndedError, NoStreamError, StreamClosedError

Token = str | Callable[[bool], str | Awaitable[str | None] | None]
"""A token, or what returns one; it is told whether the last one was refused."""

_SILENT_INTERVALS: Final = 2.5  # a node pings every stream once an interval
_CONNECT_TIMEOUT_S: Final = 10.0


class EventSource:
    """The events of a stream: each once and in order, or `sse.reset`.

    It comes back by itself after whatever happens: the end of the stream, any status, silence. Each
    iteration is one reader; it begins after `last_event_id`, which moves with it.

    Args:
        url: of the stream, with its query.
        token: sent as `Authorization: Bearer`; one that is a function is asked before each request.
        last_event_id: to begin after; empty to begin now.
        raise_resets: raise ResetError instead of yielding the event `sse.reset`.
        ping_interval_s: of the node; a stream that is silent for 2.5 times this is given up.
        retry_s: time to the next attempt until the server says another.
        max_retry_s: the longest time between two attempts.
        client: of the caller, such as one with a proxy or for a Unix socket; an `httpx.AsyncClient`
            for `async for`, an `httpx.Client` for `for`.

    Attributes:
        last_event_id: of the last event that was yielded, or where the stream began.

    Raises:
        StreamClosedError: while iterating: no further attempt makes sense.
        ResetError: while iterating: events may be missing. A new iteration goes on after them.
    """

    def __init__(
        self,
        url: str,
        token: Token = "",
        *,
        last_event_id: str = "",
        raise_resets: bool = False,
        ping_interval_s: float = 15.0,
        retry_s: float = 3.0,
        max_retry_s: float = 30.0,
        client: httpx.AsyncClient | httpx.Client | None = None,
    ) -> None:
        self._url = url
        self._token = token
        self._client = client
        self._state = StreamState(
            last_event_id, raises_resets=raise_resets, retry_s=retry_s, max_retry_s=max_retry_s
        )
        self._timeout = httpx.Timeout(_CONNECT_TIMEOUT_S, read=_SILENT_INTERVALS * ping_interval_s)
        self._refusal = ""
        self._refused_token = ""

    @property
    def last_event_id(self) -> str:
        """Where the next request goes on."""
        return self._state.last_event_id

    async def __aiter__(self) -> AsyncIterator[Event]:
        """Yield events until the caller stops."""
        own = None
        client = self._client
        if not isinstance(client, httpx.AsyncClient):
            client = own = httpx.AsyncClient(follow_redirects=True)
        try:
            while True:
                token = self._ask_for_token()
                headers = self._headers(await token if inspect.isawaitable(token) else token)
                try:
                    async with client.stream(
                        "GET", self._url, headers=headers, timeout=self._timeout
                    ) as response:
                        self._state.on_response(response.status_code, response.headers)
                        async for data in response.aiter_bytes():
                            for event in self._state.feed(data):
                                self._refusal = ""
                                yield event
                except (httpx.HTTPError, NoStreamError):
                    pass
                except AccessEndedError as ended:
                    self._on_ended(ended)
                await asyncio.sleep(self._state.wait_s())
        finally:
            if own is not None:
                await own.aclose()

    def __iter__(self) -> Iterator[Event]:
        """Yield events until the caller stops; blocks while there are none."""
        own = None
        client = self._client
        if not isinstance(client, httpx.Client):
            client = own = httpx.Client(follow_redirects=True)
        try:
            while True:
                token = self._ask_for_token()
                if inspect.isawaitable(token):
                    raise TypeError("token: expected a function that is not async")
                headers = self._headers(token)
                try:
                    with client.stream(
                        "GET", self._url, headers=headers, timeout=self._timeout
                    ) as response:
                        self._state.on_response(response.status_code, response.headers)
                        for data in response.iter_bytes():
                            for event in self._state.feed(data):
                                self._refusal = ""
                                yield event
                except (httpx.HTTPError, NoStreamError):
                    pass
                except AccessEndedError as ended:
                    self._on_ended(ended)
                time.sleep(self._state.wait_s())
        finally:
            if own is not None:
                own.close()

    def _ask_for_token(self) -> str | Awaitable[str | None] | None:
        return self._token(bool(self._refusal)) if callable(self._token) else self._token

    def _headers(self, token: str | None) -> dict[str, str]:
        """Return the headers of a request with this token; raises StreamClosedError."""
        if self._refusal and (not token or token == self._refused_token):
            raise StreamClosedError(self._refusal)
        self._refused_token = token or ""
        return self._state.headers(token or "")

    def _on_ended(self, ended: AccessEndedError) -> None:
        if not callable(self._token) or ended.reason == "replaced":
            raise StreamClosedError(ended.reason) from ended
        self._refusal = ended.reason


events = EventSource
"""The same, as it reads best: `async for event in events(url)`."""

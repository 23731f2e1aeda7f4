"""Cross-origin resource sharing (Fetch §3.2): which pages of other origins may read answers."""

from typing import Final

from sse_node.config.hosts import ANY, NULL
from sse_node.wire.http_head import Headers, Request

# What a page may set besides what every page may (Fetch, CORS-safelisted). Of the polyfills,
# @microsoft/fetch-event-source and eventsource 3 (npm) send Last-Event-ID, eventsource 2 also
# Cache-Control, eventsource-polyfill (amvtek) also X-Requested-With, event-source-polyfill none of
# them: it puts the id into the query. Authorization is why most pages use one.
_ALLOW_HEADERS: Final = (
    b"Authorization, Cache-Control, Content-Type, Idempotency-Key, If-Match, If-None-Match, "
    b"Last-Event-ID, X-Requested-With"
)
_EXPOSE_HEADERS: Final = (
    b"ETag, Link, Location, RateLimit, RateLimit-Policy, Retry-After, WWW-Authenticate, X-Server-Id"
)
_MAX_AGE_S: Final = b"600"


class Cors:
    """Says which pages may read an answer; lives as long as the node.

    Args:
        origins: whose pages may, as browsers send them; `*` for any.
    """

    def __init__(self, origins: tuple[str, ...]) -> None:
        self._is_any = ANY in origins
        self._origins = frozenset(origins)

    def allows(self, request: Request) -> bool:
        """Return whether the page that a request comes from may read its answer."""
        return self._is_any or request.header(b"origin") in self._origins

    def headers_of(self, request: Request) -> Headers:
        """Return the headers by which a page of another origin may read the answer.

        Cookies count for listed origins only, and never for `null`, which every page can have by a
        sandboxed frame. `Vary` is there where answers differ by the origin.
        """
        if not self._origins:
            return ()
        if self._is_any:
            return (
                (b"Access-Control-Allow-Origin", b"*"),
                (b"Access-Control-Expose-Headers", _EXPOSE_HEADERS),
            )
        origin = request.header(b"origin")
        if origin not in self._origins:
            return ((b"Vary", b"Origin"),)
        credentials = ((b"Access-Control-Allow-Credentials", b"true"),) if origin != NULL else ()
        return (
            (b"Access-Control-Allow-Origin", origin.encode()),
            *credentials,
            (b"Access-Control-Expose-Headers", _EXPOSE_HEADERS),
            (b"Vary", b"Origin"),
        )

    def preflight_headers(self, request: Request, methods: bytes) -> Headers:
        """Return what an `OPTIONS` adds for a page that may send such requests.

        Args:
            request: the `OPTIONS`.
            methods: the value of `Allow`.
        """
        if not self.allows(request):
            return ()
        return (
            (b"Access-Control-Allow-Methods", methods),
            (b"Access-Control-Allow-Headers", _ALLOW_HEADERS),
            (b"Access-Control-Max-Age", _MAX_AGE_S),
        )

"""Requests that a page of another origin made a browser send, with the user's cookie.

A browser attaches cookies by itself, so a cookie alone does not show that our page wants a change
(cross-site request forgery). `Sec-Fetch-Site` and `Origin` cannot be set by pages.
"""

from collections.abc import Collection
from typing import Final

from sse_node.errors import RequestError
from sse_node.wire.http_head import Request

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})  # RFC 9110 §9.2.1


def check_origin(request: Request, allowed: Collection[str]) -> None:
    """Reject a request that changes something and does not come from a page of ours.

    Args:
        request: authenticated by a cookie.
        allowed: the origins of `--cors-origin`.

    Raises:
        RequestError: 403.
    """
    if request.method in _SAFE or request.header(b"sec-fetch-site") == "same-origin":
        return
    origin, host = request.header(b"origin"), request.header(b"host")
    if origin and (origin in allowed or (host and origin.partition("://")[2] == host)):
        return
    raise RequestError(
        403, "not allowed: with a cookie, expected an Origin or Sec-Fetch-Site of this site"
    )

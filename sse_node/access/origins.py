"""Requests that a page of another origin made a browser send, with the user's cookie.

A browser attaches cookies by itself, so a cookie alone does not show that our page wants a change
(cross-site request forgery). `Sec-Fetch-Site` (Fetch Metadata) and `Origin` cannot be set by pages.
A proxy that authenticates users may go by a cookie, too.
"""

from collections.abc import Collection
from typing import Final

from sse_node.config.hosts import NULL
from sse_node.errors import RequestError
from sse_node.wire.http_head import Request

_TYPED: Final = "none"  # of Sec-Fetch-Site: into the browser's address bar
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})  # RFC 9110 §9.2.1


def check_origin(request: Request, allowed: Collection[str]) -> None:
    """Reject a request that changes something and does not come from a page of ours.

    Args:
        request: authenticated by a cookie.
        allowed: the origins of `--cors-origin`.

    Raises:
        RequestError: 403.
    """
    if request.method not in _SAFE and not _is_ours(request, allowed):
        raise _forbidden()


def check_origin_of_stream(request: Request, allowed: Collection[str]) -> None:
    """Reject a stream that a page of another origin opens.

    It could read nothing of it, but `--streams-per-user` would close a stream of the user's.

    Raises:
        RequestError: 403.
    """
    site = request.header(b"sec-fetch-site") or _TYPED
    if (site != _TYPED or b"origin" in request.headers) and not _is_ours(request, allowed):
        raise _forbidden()


def check_proxied_origin(request: Request, allowed: Collection[str]) -> None:
    """Do the same with a request whose user a proxy names, if a browser sent it.

    Raises:
        RequestError: 403.
    """
    if b"origin" in request.headers or b"sec-fetch-site" in request.headers:
        check_origin(request, allowed)


def _forbidden() -> RequestError:
    return RequestError(
        403,
        "not allowed: when a cookie or a proxy names the user, expected an Origin or "
        "Sec-Fetch-Site of this site, or an Origin in --cors-origin",
    )


def _is_ours(request: Request, allowed: Collection[str]) -> bool:
    origin = request.header(b"origin")
    if origin in allowed and origin != NULL:  # every page can have the origin null
        return True
    site = request.header(b"sec-fetch-site")
    if site is not None:  # over HTTPS and to this machine, by browsers since 2023
        return site == "same-origin"
    return origin is not None and _is_own_origin(request, origin)


def _is_own_origin(request: Request, origin: str) -> bool:
    """Return whether an origin is the site that the browser sent the request to.

    Headers of proxies count from every peer: a page cannot set them without a preflight.
    """
    scheme, _, host = origin.partition("://")
    is_downgrade = scheme == "http" and request.header(b"x-forwarded-proto") == "https"
    own = request.header(b"x-forwarded-host") or request.header(b"host")
    return bool(host) and host == (own or "").lower() and not is_downgrade

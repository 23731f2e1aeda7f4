"""Where a request carries its token or key: exactly one of header, cookie and query."""

import re
from typing import Final

import msgspec

from sse_node.access.api_keys import looks_like_key
from sse_node.errors import RequestError
from sse_node.wire.http_head import Request

QUERY_PARAMETER: Final = "access_token"
_PREFIX: Final = b"Bearer "
_PREFIX_BYTES: Final = len(_PREFIX)
# RFC 6750 §2.1. Ignoring the case of the token too takes four times as long.
_BEARER: Final = re.compile(r"(?i:bearer) +([\x21-\x7e]+)")


class Credential(msgspec.Struct, frozen=True, gc=False):
    """A token or a key, and whether a browser sent it by itself.

    Attributes:
        text: empty when the request has none.
        is_cookie: a page of another origin can make a browser send it.
        is_header: it came in Authorization, where alone a key is accepted.
    """

    text: str = ""
    is_cookie: bool = False
    is_header: bool = False


_NO_CREDENTIAL: Final = Credential()


class Credentials:
    """Finds the credential of a request; lives as long as the node.

    Args:
        cookie: name of the cookie; empty for none.
        query: whether `?access_token=` is read.
    """

    def __init__(self, cookie: str, *, query: bool) -> None:
        self._cookie = cookie
        self._query = query

    def find(self, request: Request) -> Credential:
        """Return the credential of a request.

        Raises:
            RequestError: 400, it has several, or one that is malformed.
        """
        found = self._of_header(request)
        if self._cookie and (cookies := request.header(b"cookie")):
            found += [
                Credential(value, is_cookie=True) for value in cookie_values(cookies, self._cookie)
            ]
        if self._query and request.query:
            values = request.query_parameters().get(QUERY_PARAMETER, ())
            found += map(Credential, filter(None, values))
        if len(found) > 1:
            raise RequestError(
                400, "credentials: expected one of Authorization, cookie and access_token"
            )
        return found[0] if found else _NO_CREDENTIAL

    def lone_token(self, request: Request) -> bytes:
        """Return what Authorization holds, where it can be the only credential; else empty.

        Its form is not checked. Most requests are of this kind, and `find` takes longer.
        """
        if self._cookie or self._query:
            return b""
        value = request.headers.get(b"authorization", b"")
        return value[_PREFIX_BYTES:] if value.startswith(_PREFIX) else b""

    def find_key(self, request: Request) -> str:
        """Return the API key of a request, empty for none; what else it has is not ours."""
        match = _BEARER.fullmatch(request.header(b"authorization") or "")
        return match[1] if match is not None and looks_like_key(match[1]) else ""

    def _of_header(self, request: Request) -> list[Credential]:
        value = request.header(b"authorization")
        if value is None:
            return []
        match = _BEARER.fullmatch(value)
        if match is None:
            raise RequestError(400, "Authorization: expected Bearer and a token or key")
        return [Credential(match[1], is_header=True)]


def cookie_values(header: str, name: str) -> list[str]:
    """Return the values of a cookie in a Cookie header (RFC 6265 §4.2.1)."""
    pairs = (pair.strip().partition("=") for pair in header.split(";"))
    return [value.strip('"') for found, _, value in pairs if found == name and value]

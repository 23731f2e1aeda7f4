"""The page at `/`, on which a person sees it work.

Its policy (Content Security Policy 3) names its script and its style by their hashes, so the
browser runs nothing else, whatever an event holds.
"""

import re
from base64 import b64encode
from hashlib import sha256
from importlib.resources import files

from sse_node.wire.http_head import Request, Response


class Page:
    """The page; lives as long as the node."""

    def __init__(self) -> None:
        self._content = (files("sse_node.api") / "page.html").read_bytes()
        self._policy = (
            b"default-src 'none'; script-src %b; style-src %b; connect-src 'self'; img-src data:; "
            b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ) % (self._source_of(b"script"), self._source_of(b"style"))

    def _source_of(self, element: bytes) -> bytes:
        """Return the source expression of the one inline element of this name."""
        (content,) = re.findall(b"<%b>(.*?)</%b>" % (element, element), self._content, re.DOTALL)
        return b"'sha256-%b'" % b64encode(sha256(content).digest())

    def get(self, request: Request) -> Response:
        """Answer `GET /`."""
        return Response(
            200,
            (
                (b"Content-Type", b"text/html; charset=utf-8"),
                (b"Cache-Control", b"no-cache"),
                (b"Content-Security-Policy", self._policy),
                (b"Referrer-Policy", b"no-referrer"),
            ),
            self._content,
        )

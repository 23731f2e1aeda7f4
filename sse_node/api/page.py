"""The page at `/`, on which a person sees it work, made of the files in `console`.

Its policy (Content Security Policy 3) names its script and its style by their hashes, so the
browser runs nothing else, whatever an event holds.
"""

import re
from base64 import b64encode
from hashlib import sha256
from importlib.resources import files
from typing import Final

from sse_node.wire.http_head import Request, Response

_SCRIPTS: Final = (
    *("basics", "token", "requests", "stream", "paper", "charts", "publish", "rooms", "nodes"),
    *("accounts", "start"),
)


def html_response(content: bytes) -> Response:
    """Return the response that is a page whose inline script and style, if any, may run."""
    policy = (
        b"default-src 'none'; script-src %b; style-src %b; connect-src 'self'; img-src data:; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ) % (_source_of(b"script", content), _source_of(b"style", content))
    return Response(
        200,
        (
            (b"Content-Type", b"text/html; charset=utf-8"),
            (b"Cache-Control", b"no-cache"),
            (b"Content-Security-Policy", policy),
            (b"Referrer-Policy", b"no-referrer"),
        ),
        content,
    )


def _source_of(element: bytes, page: bytes) -> bytes:
    """Return the source expression of the only inline element of this name, if there is one."""
    found = re.findall(b"<%b>(.*?)</%b>" % (element, element), page, re.DOTALL)
    if not found:
        return b"'none'"
    (content,) = found
    return b"'sha256-%b'" % b64encode(sha256(content).digest())


class Page:
    """The page; lives as long as the node."""

    def __init__(self) -> None:
        self._response = html_response(console_page())

    def get(self, request: Request) -> Response:
        """Answer `GET /`."""
        return self._response


def console_page() -> bytes:
    """Return the page with its style and its script, which are one element each."""
    folder = files("sse_node.api") / "console"
    page = (folder / "page.html").read_bytes()
    script = b"\n".join((folder / f"{name}.js").read_bytes() for name in _SCRIPTS)
    page = page.replace(b"</style>", (folder / "style.css").read_bytes() + b"</style>")
    return page.replace(b"</script>", script + b"</script>")

"""The page and the policy that the browser enforces on it."""

import base64
import hashlib
import re

from sse_node.api.page import Page
from sse_node.wire.http_head import Request, Response


def answer() -> Response:
    return Page().get(Request("GET", "/", "", {}))


def policy() -> dict[str, list[str]]:
    text = dict(answer().headers)[b"Content-Security-Policy"].decode()
    directives = (directive.split() for directive in text.split(";"))
    return {name: sources for name, *sources in directives}


def test_page_needs_no_other_host() -> None:
    response = answer()
    assert response.status == 200
    assert dict(response.headers)[b"Content-Type"] == b"text/html; charset=utf-8"
    assert response.content.lower().startswith(b"<!doctype html>")
    assert b"https://" not in response.content
    assert all("http" not in source for sources in policy().values() for source in sources)


def test_policy_allows_the_page_itself_and_nothing_inline() -> None:
    assert policy() == {
        "default-src": ["'none'"],
        "script-src": [hash_of("script")],
        "style-src": [hash_of("style")],
        "connect-src": ["'self'"],
        "img-src": ["data:"],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
        "frame-ancestors": ["'none'"],
    }


def hash_of(element: str) -> str:
    text = answer().content.decode()
    content = text.partition(f"<{element}>")[2].partition(f"</{element}>")[0]
    assert content.strip()
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def test_page_has_no_inline_handlers_and_no_inline_styles() -> None:
    text = answer().content.decode()
    assert text.count("<script") == text.count("<style") == 1
    assert re.findall(r"<[^>]*\s(?:on\w+|style)=", text) == []
    assert b"\r" not in answer().content  # a browser would hash LF instead


def test_page_tells_other_sites_nothing() -> None:
    assert (b"Referrer-Policy", b"no-referrer") in answer().headers

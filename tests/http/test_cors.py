"""Which pages of other origins may read answers, and with cookies."""

import pytest

from sse_node.http.cors import Cors
from sse_node.wire.http_head import Headers, Request

APP = "https://app.example"
EVIL = "https://evil.example"
EXPOSED = (
    b"Access-Control-Expose-Headers",
    b"ETag, Link, Location, RateLimit, RateLimit-Policy, Retry-After, WWW-Authenticate, "
    b"X-Server-Id",
)
CREDENTIALS = (b"Access-Control-Allow-Credentials", b"true")
VARY = (b"Vary", b"Origin")


def request_of(origin: str | None) -> Request:
    return Request("GET", "/", "", {} if origin is None else {b"origin": origin.encode()})


def allow(origin: str) -> tuple[bytes, bytes]:
    return b"Access-Control-Allow-Origin", origin.encode()


@pytest.mark.parametrize(
    ("origins", "origin", "headers"),
    [
        ((), APP, ()),
        (("*",), None, (allow("*"), EXPOSED)),
        (("*", APP), APP, (allow("*"), EXPOSED)),
        (("*",), "null", (allow("*"), EXPOSED)),
        ((APP, "null"), APP, (allow(APP), CREDENTIALS, EXPOSED, VARY)),
        ((APP, "null"), "null", (allow("null"), EXPOSED, VARY)),
        ((APP,), "null", (VARY,)),
        ((APP,), EVIL, (VARY,)),
        ((APP,), APP + ".evil.example", (VARY,)),
        ((APP,), APP + ":8443", (VARY,)),
        ((APP,), "http://app.example", (VARY,)),
        ((APP,), "", (VARY,)),
        ((APP,), None, (VARY,)),
    ],
    ids=["off", "any", "any and one", "any has null", "listed", "listed null", "null", "another",
         "a longer one", "another port", "another scheme", "empty", "no origin"],
)  # fmt: skip
def test_headers(origins: tuple[str, ...], origin: str | None, headers: Headers) -> None:
    assert Cors(origins).headers_of(request_of(origin)) == headers


@pytest.mark.parametrize("origins", [(APP,), ("*",)])
def test_preflight_of_an_allowed_origin(origins: tuple[str, ...]) -> None:
    headers = dict(Cors(origins).preflight_headers(request_of(APP), b"GET, POST"))
    assert headers == {
        b"Access-Control-Allow-Methods": b"GET, POST",
        b"Access-Control-Allow-Headers": (
            b"Authorization, Cache-Control, Content-Type, Idempotency-Key, If-Match, "
            b"If-None-Match, Last-Event-ID, X-Requested-With"
        ),
        b"Access-Control-Max-Age": b"600",
    }


@pytest.mark.parametrize("origin", [EVIL, "null", None])
def test_other_origins_get_no_preflight(origin: str | None) -> None:
    assert Cors((APP,)).preflight_headers(request_of(origin), b"GET") == ()
    assert Cors(()).preflight_headers(request_of(origin), b"GET") == ()

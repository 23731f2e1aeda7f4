"""Which requests with a cookie come from a page of ours."""

import pytest

from sse_node.access.origins import check_origin, check_origin_of_stream, check_proxied_origin
from sse_node.errors import RequestError
from sse_node.wire.http_head import Request

LISTED = ("https://app.example", "null")
HOST = "api.example"

# (Sec-Fetch-Site, Origin, X-Forwarded-Proto, accepted); None where the header is absent.
CASES = {
    "own page": ("same-origin", "https://api.example", "https", True),
    "own page, without Origin": ("same-origin", None, None, True),
    "listed, another site": ("cross-site", "https://app.example", "https", True),
    "listed, the same site": ("same-site", "https://app.example", "https", True),
    "another site": ("cross-site", "https://evil.example", "https", False),
    "another host of the site": ("same-site", "https://www.api.example", "https", False),
    "another port": ("same-site", "https://api.example:8443", "https", False),
    "another scheme": ("cross-site", "http://api.example", "https", False),
    "null, which is listed": ("cross-site", "null", "https", False),
    "typed by the user": ("none", None, None, False),
    "two values": ("same-origin, cross-site", None, None, False),
    "wrong case": ("Same-Origin", None, None, False),
    "own host, but the browser says otherwise": ("cross-site", "https://api.example", None, False),
    "older browser, own page": (None, "https://api.example", "https", True),
    "older browser, without a proxy": (None, "http://api.example", None, True),
    "older browser, TLS further out": (None, "https://api.example", "http", True),
    "older browser, listed": (None, "https://app.example", "https", True),
    "older browser, another site": (None, "https://evil.example", "https", False),
    "older browser, another port": (None, "https://api.example:8443", "https", False),
    "older browser, another scheme": (None, "http://api.example", "https", False),
    "older browser, longer name": (None, "https://api.example.evil.example", "https", False),
    "older browser, null": (None, "null", "https", False),
    "older browser, empty": (None, "", "https", False),
    "no browser": (None, None, None, False),
}


def request_of(
    method: str = "POST",
    site: str | None = None,
    origin: str | None = None,
    proto: str | None = None,
    host: str = HOST,
    forwarded_host: str | None = None,
) -> Request:
    headers = {
        b"host": host,
        b"sec-fetch-site": site,
        b"origin": origin,
        b"x-forwarded-proto": proto,
        b"x-forwarded-host": forwarded_host,
    }
    given = {name: value.encode() for name, value in headers.items() if value is not None}
    return Request(method, "/", "", given)


def is_accepted(request: Request) -> bool:
    try:
        check_origin(request, LISTED)
    except RequestError as error:
        return error.status != 403
    return True


@pytest.mark.parametrize(("site", "origin", "proto", "accepted"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE", "PUT"])
def test_a_request_that_changes_something(
    method: str, site: str | None, origin: str | None, proto: str | None, accepted: bool
) -> None:
    assert is_accepted(request_of(method, site, origin, proto)) is accepted


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_a_request_that_changes_nothing(method: str) -> None:
    check_origin(request_of(method, "cross-site", "https://evil.example"), LISTED)


# What opens a stream although it changes nothing: no page at all.
NO_PAGE = ("typed by the user", "no browser")


@pytest.mark.parametrize("case", CASES)
def test_a_stream_is_opened_by_own_pages_and_programs(case: str) -> None:
    site, origin, proto, accepted = CASES[case]
    request = request_of("GET", site, origin, proto)
    if accepted or case in NO_PAGE:
        check_origin_of_stream(request, LISTED)
        return
    with pytest.raises(RequestError) as caught:
        check_origin_of_stream(request, LISTED)
    assert caught.value.status == 403


def test_behind_a_proxy_the_host_is_the_one_that_it_names() -> None:
    origin = "https://api.example"
    forwarded = request_of(origin=origin, host="localhost", forwarded_host="API.example")
    assert is_accepted(forwarded)
    assert not is_accepted(request_of(origin=origin, host="localhost"))
    other = request_of(origin="http://localhost", host="localhost", forwarded_host="api.example")
    assert not is_accepted(other)


def test_a_proxy_names_users_of_programs_that_are_no_browser() -> None:
    check_proxied_origin(request_of(), LISTED)
    check_proxied_origin(request_of(site="same-origin"), LISTED)
    for request in (
        request_of(site="cross-site"),
        request_of(origin="https://evil.example"),
        request_of(origin="null"),
    ):
        with pytest.raises(RequestError, match="expected an Origin"):
            check_proxied_origin(request, LISTED)

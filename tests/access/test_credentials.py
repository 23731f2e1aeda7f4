"""Where a request carries its token or key, and what is too much of it."""

import pytest

from sse_node.access.credentials import Credential, Credentials, cookie_values
from sse_node.errors import RequestError
from sse_node.wire.http_head import Request

T = "eyJ.a-_.b"
KEY = "ssk_abc"


def request_of(query: str = "", **headers: str) -> Request:
    fields = {name.lower().encode(): value.encode() for name, value in headers.items()}
    return Request("GET", "/events/sse", query, fields)


FOUND: dict[str, tuple[Request, Credential]] = {
    "none": (request_of(), Credential()),
    "header": (request_of(authorization=f"Bearer {T}"), Credential(T, is_header=True)),
    "scheme in small letters": (
        request_of(authorization=f"bearer   {T}"), Credential(T, is_header=True)
    ),
    "cookie": (request_of(cookie=f"a=1; session={T}; b=2"), Credential(T, is_cookie=True)),
    "cookie in quotes": (request_of(cookie=f'session="{T}"'), Credential(T, is_cookie=True)),
    "cookie of another name": (request_of(cookie=f"xsession={T}; Session={T}"), Credential()),
    "cookie that is empty": (request_of(cookie="session="), Credential()),
    "cookie header without a name": (request_of(cookie=f"{T};;="), Credential()),
    "query": (request_of(f"channels=a&access_token={T}"), Credential(T)),
    "query, percent-encoded": (request_of("access%5Ftoken=eyJ%2Ea"), Credential("eyJ.a")),
    "query that is empty": (request_of("access_token="), Credential()),
    "query beyond ASCII": (request_of("access_token=%E2%82%AC"), Credential("€")),
    "header and empty others": (
        request_of("access_token=", authorization=f"Bearer {T}", cookie="session="),
        Credential(T, is_header=True),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("request_", "expected"), FOUND.values(), ids=list(FOUND))
def test_the_credential_is_found(request_: Request, expected: Credential) -> None:
    assert Credentials("session", query=True).find(request_) == expected


@pytest.mark.parametrize("name", ["cookie", "query"])
def test_what_is_not_configured_is_not_read(name: str) -> None:
    request = FOUND[name][0]
    assert Credentials("", query=False).find(request) == Credential()


REFUSED: dict[str, tuple[Request, str]] = {
    "header and cookie": (
        request_of(authorization=f"Bearer {T}", cookie=f"session={T}"), "one of Authorization"
    ),
    "header and query": (
        request_of(f"access_token={T}", authorization=f"Bearer {T}"), "one of Authorization"
    ),
    "cookie and query": (
        request_of(f"access_token={T}", cookie=f"session={T}"), "one of Authorization"
    ),
    "two cookies": (request_of(cookie=f"session={T}; session=x"), "one of Authorization"),
    "two in the query": (request_of(f"access_token={T}&access_token=x"), "one of Authorization"),
    "two headers": (request_of(authorization=f"Bearer {T}, Bearer {KEY}"), "expected Bearer"),
    "Basic": (request_of(authorization="Basic YTpi"), "expected Bearer"),
    "no scheme": (request_of(authorization=T), "expected Bearer"),
    "no token": (request_of(authorization="Bearer "), "expected Bearer"),
    "two words": (request_of(authorization=f"Bearer {T} {T}"), "expected Bearer"),
    "beyond ASCII": (request_of(authorization="Bearer é"), "expected Bearer"),
    "nothing": (request_of(authorization=""), "expected Bearer"),
    "query that is not UTF-8": (request_of("access_token=%ff"), "percent-encoded UTF-8"),
}  # fmt: skip


@pytest.mark.parametrize(("request_", "detail"), REFUSED.values(), ids=list(REFUSED))
def test_several_credentials_and_malformed_ones_are_400(request_: Request, detail: str) -> None:
    with pytest.raises(RequestError) as caught:
        Credentials("session", query=True).find(request_)
    assert caught.value.status == 400
    assert detail in caught.value.detail
    assert T not in caught.value.detail


@pytest.mark.parametrize(
    ("authorization", "key"),
    [
        (f"Bearer {KEY}", KEY),
        (f"Bearer {T}", ""),
        ("Basic YTpi", ""),
        (f"Bearer {KEY}, Bearer {T}", ""),
    ],
)
def test_behind_a_proxy_only_a_key_is_for_the_node(authorization: str, key: str) -> None:
    assert Credentials("", query=False).find_key(request_of(authorization=authorization)) == key
    assert Credentials("", query=False).find_key(request_of()) == ""


@pytest.mark.parametrize(
    ("header", "values"),
    [
        ("", []),
        ("a=1", ["1"]),
        ("a=1;a=2; a = 3", ["1", "2"]),
        ("b=a=1", []),
        ("a=b=c", ["b=c"]),
        ('a="1"', ["1"]),
    ],
)
def test_cookies_are_taken_apart(header: str, values: list[str]) -> None:
    assert cookie_values(header, "a") == values

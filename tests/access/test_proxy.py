"""The identity that a proxy's headers give, and headers that no proxy has sent."""

import pytest

from sse_node.access.client_address import TrustedPeers
from sse_node.access.proxy import ProxyHeaders
from sse_node.config.reading import read_settings
from sse_node.errors import RequestError
from sse_node.wire.http_head import Request
from sse_node.wire.identity import Identity, Patterns

PROXY, STRANGER = "10.0.0.1", "203.0.113.9"
FLAGS = {
    "auth": "proxy",
    "auth_user_header": "X-User",
    "auth_channels_header": "X-Channels",
    "auth_publish_header": "X-Publish",
}


def identify(
    peer: str,
    headers: dict[str, str],
    repeated: frozenset[bytes] = frozenset(),
    **flags: str,
) -> Identity | None:
    access = read_settings({**FLAGS, **flags}, {}).access
    fields = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
    request = Request("GET", "/", "", fields, repeated=repeated)
    request.peer = peer
    return ProxyHeaders(access, TrustedPeers("10.0.0.0/8")).identify(request)


def test_the_headers_of_a_trusted_proxy() -> None:
    headers = {"x-user": "ann", "x-channels": "room:1, room:2\troom:*", "x-publish": "user:self"}
    assert identify(PROXY, headers) == Identity(
        caller="user:ann",
        user="ann",
        listen=Patterns(["room:1", "room:2", "room:*"]),
        publish=Patterns(["user:self"]),
    )
    assert identify("", headers) == identify(PROXY, headers), "a Unix socket is trusted"


@pytest.mark.parametrize("headers", [{}, {"x-user": ""}, {"x-channels": "a"}, {"x_user": "ann"}])
def test_a_proxy_that_names_no_user(headers: dict[str, str]) -> None:
    assert identify(PROXY, headers) is None


def test_headers_that_are_not_configured_give_nothing() -> None:
    headers = {"x-user": "ann", "x-channels": "a", "x-publish": "*"}
    assert identify(PROXY, headers, auth_channels_header="", auth_publish_header="") == Identity(
        caller="user:ann", user="ann"
    )
    assert identify(STRANGER, {"x-publish": "*"}, auth_publish_header="") is None


@pytest.mark.parametrize("name", ["x-user", "x-channels", "x-publish"])
@pytest.mark.parametrize("value", ["ann", ""])
def test_a_stranger_may_not_send_them(name: str, value: str) -> None:
    with pytest.raises(RequestError) as caught:
        identify(STRANGER, {name: value})
    assert (caught.value.status, caught.value.detail) == (
        403, f"{name.title()}: not accepted from this address"
    )  # fmt: skip


def test_a_stranger_without_them_is_nobody() -> None:
    assert identify(STRANGER, {"accept": "*/*"}) is None


@pytest.mark.parametrize(
    ("headers", "detail"),
    [
        ({"x-user": "ann, bob"}, "X-User: expected a user id"),  # two headers, joined
        ({"x-user": "ann bob"}, "X-User: expected a user id"),
        ({"x-user": "änn"}, "X-User: expected a user id"),
        ({"x-user": "u" * 256}, "X-User: expected a user id"),
        ({"x-user": "ann", "x-channels": 'room:"'}, "X-Channels: expected patterns"),
        ({"x-user": "ann", "x-publish": "user:é"}, "X-Publish: expected patterns"),
    ],
)
def test_malformed_headers_are_400(headers: dict[str, str], detail: str) -> None:
    with pytest.raises(RequestError) as caught:
        identify(PROXY, headers)
    assert caught.value.status == 400
    assert caught.value.detail.startswith(detail)


@pytest.mark.parametrize("name", ["x-user", "x-channels", "x-publish"])
def test_a_header_of_the_client_beside_that_of_the_proxy_is_400(name: str) -> None:
    headers = {"x-user": "ann", "x-channels": "room:1", "x-publish": "user:self"}
    assert identify(PROXY, headers, repeated=frozenset({b"x-other"})) is not None
    with pytest.raises(RequestError, match="expected at most one") as caught:
        identify(PROXY, headers, repeated=frozenset({name.encode()}))
    assert caught.value.status == 400

"""The address of a client behind proxies that are trusted, and others that claim to be."""

import pytest

from sse_node.access.client_address import TrustedPeers, counted_as
from sse_node.wire.http_head import Request

UNIX = ""


def request_from(peer: str, forwarded: str | None) -> Request:
    headers = {} if forwarded is None else {b"x-forwarded-for": forwarded.encode("latin-1")}
    request = Request("GET", "/", "", headers)
    request.peer = peer
    return request


@pytest.mark.parametrize(
    ("setting", "address", "expected"),
    [
        ("127.0.0.1,::1", "127.0.0.1", True),
        ("127.0.0.1,::1", "::1", True),
        ("127.0.0.1,::1", "::ffff:127.0.0.1", True),
        ("127.0.0.1,::1", "127.0.0.2", False),
        ("127.0.0.1", UNIX, True),
        ("", UNIX, True),
        ("", "127.0.0.1", False),
        ("*", "203.0.113.9", True),
        (" 10.0.0.0/8 , fd00::/8,", "10.255.0.1", True),
        ("10.0.0.0/8,fd00::/8", "fd00::1%eth0", True),
        ("10.0.0.7/8", "10.1.1.1", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("10.0.0.0/8", "a name", False),
        ("10.0.0.0/8", "010.0.0.1", False),
    ],
)
def test_peers_are_trusted_by_address_and_network(
    setting: str, address: str, expected: bool
) -> None:
    assert TrustedPeers(setting).trusts(address) is expected


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        pytest.param("203.0.113.9", "1.1.1.1", "203.0.113.9", id="who is not trusted claims"),
        pytest.param("10.0.0.1", None, "10.0.0.1", id="no header"),
        pytest.param("10.0.0.1", "", "10.0.0.1", id="empty header"),
        pytest.param("10.0.0.1", "1.1.1.1", "1.1.1.1", id="one proxy"),
        pytest.param("10.0.0.1", "6.6.6.6, 1.1.1.1", "1.1.1.1", id="the client claims"),
        pytest.param("10.0.0.1", "6.6.6.6, 1.1.1.1, 10.0.0.2", "1.1.1.1", id="two proxies"),
        pytest.param("10.0.0.1", "10.0.0.3,10.0.0.2", "10.0.0.3", id="all trusted"),
        pytest.param("10.0.0.1", "1.1.1.1, unknown", "10.0.0.1", id="no address last"),
        pytest.param("10.0.0.1", "1.1.1.1, x, 10.0.0.2", "10.0.0.2", id="no address between"),
        pytest.param("10.0.0.1", "1.1.1.1,", "10.0.0.1", id="an empty entry"),
        pytest.param("10.0.0.1", "1.1.1.1:5000", "1.1.1.1", id="with a port"),
        pytest.param("10.0.0.1", "[2001:db8::1]:5000", "2001:db8::1", id="IPv6 with a port"),
        pytest.param("10.0.0.1", "2001:db8::1", "2001:db8::1", id="IPv6"),
        pytest.param(UNIX, "1.1.1.1", "1.1.1.1", id="Unix socket"),
        pytest.param(UNIX, None, UNIX, id="Unix socket without a header"),
    ],
)
def test_the_client_is_the_rightmost_that_no_trusted_proxy_has(
    peer: str, forwarded: str | None, client: str
) -> None:
    trusted = TrustedPeers("10.0.0.0/8")
    assert trusted.client_of(request_from(peer, forwarded)) == client


def test_with_every_peer_trusted_the_client_is_the_leftmost() -> None:
    assert TrustedPeers("*").client_of(request_from("9.9.9.9", "1.1.1.1, 2.2.2.2")) == "1.1.1.1"


@pytest.mark.parametrize(
    ("address", "unit"),
    [
        ("1.2.3.4", "1.2.3.4"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        (UNIX, UNIX),
        ("a name", "a name"),
    ],
)
def test_ipv6_counts_by_64_bits(address: str, unit: str) -> None:
    assert counted_as(address) == unit

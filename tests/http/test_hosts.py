"""Which hosts requests may name."""

import pytest

from sse_node.config.reading import read_settings
from sse_node.errors import RequestError
from sse_node.http.hosts import AllowedHosts, hosts_by_default
from sse_node.wire.http_head import Request

NAMES = ("app.example", ".site.example", "10.0.0.7", "[2001:db8::7]")

ALLOWED = [
    "app.example",
    "app.example:8080",
    "APP.Example.",
    "app.example.:80",
    "site.example",
    "a.b.site.example",
    "10.0.0.7:3000",
    "[2001:db8::7]:3000",
    "[2001:DB8::7]",
    "localhost",
    "localhost:3000",
    "app.localhost",
    "127.0.0.1:3000",
    "127.8.8.8",
    "[::1]",
    "[::1]:3000",
    "[::ffff:127.0.0.1]",
    None,
]
OTHERS = [
    "evil.example",
    "evil.example:3000",
    "a.app.example",
    "app.example.evil.example",
    "notsite.example",
    "site.example.evil.example",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "10.0.0.70",
    "0.0.0.0:3000",
    "[::]",
    "[2001:db8::8]",
    "2130706433",
    "",
    ":80",
    ".",
]


def request_of(host: str | None, path: str = "/accounts") -> Request:
    return Request("GET", path, "", {} if host is None else {b"host": host.encode()})


@pytest.mark.parametrize("host", ALLOWED)
def test_allowed_host(host: str | None) -> None:
    AllowedHosts(NAMES).check(request_of(host))


@pytest.mark.parametrize("host", OTHERS)
def test_other_host(host: str) -> None:
    hosts = AllowedHosts(NAMES)
    for _ in range(2):
        with pytest.raises(RequestError, match="expected one of --allowed-hosts") as caught:
            hosts.check(request_of(host))
        assert caught.value.status == 421
        assert repr(host) in caught.value.detail


def test_long_host_is_cut() -> None:
    with pytest.raises(RequestError) as caught:
        AllowedHosts(()).check(request_of("a" * 10_000))
    assert len(caught.value.detail) < 350


def test_any_host() -> None:
    for host in (*ALLOWED, *OTHERS):
        AllowedHosts(["*"]).check(request_of(host))


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready"])
def test_health_is_asked_for_by_any_name(path: str) -> None:
    AllowedHosts(()).check(request_of("10.1.2.3:3000", path))
    with pytest.raises(RequestError):
        AllowedHosts(()).check(request_of("10.1.2.3:3000", path + "/"))


@pytest.mark.parametrize(
    ("flags", "hosts"),
    [
        ({}, ()),
        ({"host": "localhost"}, ()),
        ({"host": "::1"}, ()),
        ({"host": "127.0.0.9"}, ()),
        ({"host": "0.0.0.0"}, ("*",)),
        ({"host": "::"}, ("*",)),
        ({"host": "app.example"}, ("*",)),
        ({"uds": "/run/node.sock"}, ("*",)),
    ],
)
def test_default_goes_by_where_the_node_listens(
    flags: dict[str, str], hosts: tuple[str, ...]
) -> None:
    assert hosts_by_default(read_settings(flags, {}).listen) == hosts

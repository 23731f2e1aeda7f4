"""Where webhooks may go: every notation of an address, ports, schemes, and names that change."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from sse_node.config.reading import read_settings
from sse_node.errors import TargetError, UnresolvedTargetError
from sse_node.webhooks.targets import Targets, look_up

if TYPE_CHECKING:
    from sse_node.webhooks.targets import Lookup


def make_targets(lookup: Lookup = look_up, **flags: str) -> Targets:
    """Return the rules of some flags, named without `webhook_`."""
    named: dict[str, str | None] = {f"webhook_{name}": value for name, value in flags.items()}
    return Targets(read_settings(named, {}).webhooks, lookup)


def leading_to(*addresses: str) -> Lookup:
    """Return a lookup of names that lead to some addresses."""

    async def lookup(host: str, port: int) -> list[str]:
        return list(addresses)

    return lookup


async def reach(targets: Targets, url: str) -> list[str]:
    return await targets.resolve(targets.parse(url))


# Notations that lead to a local address, as the system's resolver reads them.
FORBIDDEN = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "0x7f.1",
    "0x7f.0.0.1",
    "0x7f000001",
    "0177.0.0.1",
    "017700000001",
    "2130706433",
    "0",
    "0.0.0.0",
    "10.1",
    "192.168.257",
    "169.254.169.254",
    "2852039166",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "[::1]",
    "[::]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "[fe80::1]",
    "[fd00::1]",
]


@pytest.mark.parametrize("host", FORBIDDEN)
async def test_no_notation_of_a_local_address_is_allowed(host: str) -> None:
    with pytest.raises(TargetError, match="not public") as caught:
        await reach(make_targets(), f"https://{host}/")
    assert not isinstance(caught.value, UnresolvedTargetError)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https:",
        "https://",
        "https:///path",
        "//a.example/",
        "a.example",
        "ftp://a.example/",
        "file:///etc/passwd",
        "gopher://a.example/",
        "http://a.example/",
        "HTTP://a.example/",
        "https://ann@a.example/",
        "https://ann:secret@a.example/",
        "https://@a.example/",
        "https://a.example/#part",
        "https://a.example:0/",
        "https://a.example:65536/",
        "https://a.example:x/",
        "https://a example/",
        "https://a.example/a b",
        "https://a.example/\r\nHost: b",
        "https://a.example\\@b.example/",
        "https://a..example/",
        "https://a%2eexample/",
        "https://%31%32%37.0.0.1/",
        "https://[::1",
        "https://[fe80::1%25eth0]/",
        "https://\u24d0.example/",
        "https://127\u30020\u30020\u30021/",
        "https://" + "a" * 64 + ".example/",
        "https://" + "a." * 127 + "example/",
        "https://a.example/" + "x" * 2048,
        "https://a.example:22/",
        "https://a.example:80/",
        "https://a.example:6379/",
    ],
)
def test_what_is_no_url_of_a_receiver(url: str) -> None:
    with pytest.raises(TargetError):
        make_targets().parse(url)


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("https://a.example", "a.example", 443),
        ("https://A.Example:8443/x?y=z", "a.example", 8443),
        ("HTTPS://a.example:443/", "a.example", 443),
        ("https://a.example./", "a.example", 443),
        ("https://8.8.8.8/", "8.8.8.8", 443),
        ("https://[2606:4700::1]:8443/", "2606:4700::1", 8443),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example", 443),
    ],
)
def test_a_url_is_read_as_clients_read_it(url: str, host: str, port: int) -> None:
    target = make_targets().parse(url)
    assert (target.host, target.port, target.url) == (host, port, url)


async def test_a_public_address_is_allowed() -> None:
    assert await reach(make_targets(), "https://8.8.8.8/") == ["8.8.8.8"]


async def test_one_local_address_among_public_ones_is_enough_to_refuse() -> None:
    targets = make_targets(leading_to("8.8.8.8", "10.0.0.1"))
    with pytest.raises(TargetError, match=r"a\.example leads to 10\.0\.0\.1"):
        await reach(targets, "https://a.example/")


async def test_a_name_without_an_address() -> None:
    async def nowhere(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    with pytest.raises(UnresolvedTargetError, match="has no address"):
        await reach(make_targets(nowhere), "https://a.example/")


async def test_a_name_that_cannot_be_encoded() -> None:
    async def lookup(host: str, port: int) -> list[str]:
        raise UnicodeError

    with pytest.raises(UnresolvedTargetError):
        await reach(make_targets(lookup), "https://a.example/")


# What settings allow


async def test_http_is_allowed_by_a_setting() -> None:
    targets = make_targets(leading_to("8.8.8.8"), allow_http="yes", ports="80,443")
    assert await reach(targets, "http://a.example/") == ["8.8.8.8"]
    with pytest.raises(TargetError, match="port 8443 is not allowed; expected 80 or 443"):
        targets.parse("https://a.example:8443/")
    with pytest.raises(TargetError, match="expected http or https"):
        targets.parse("ftp://a.example/")


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("hooks.internal", "https://hooks.internal/"),
        ("hooks.internal", "https://HOOKS.internal.:9999/"),
        ("hooks.internal:9999", "https://hooks.internal:9999/"),
        ("10.0.0.7", "https://10.0.0.7:1234/"),
        ("10.0.0.0/8", "https://10.0.0.7:1234/"),
        ("10.0.0.0/8", "https://other.internal/"),
        ("fd00::7", "https://[fd00::7]:1234/"),
        ("[fd00::7]:8080", "https://[fd00::7]:8080/"),
    ],
)
async def test_allowed_hosts(entry: str, url: str) -> None:
    address = "fd00::7" if "fd00" in entry else "10.0.0.7"
    targets = make_targets(leading_to(address), allow_hosts=entry)
    assert await reach(targets, url) == [address]


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("hooks.internal", "https://a.hooks.internal/"),
        ("hooks.internal", "https://hooks.internal.example/"),
        ("hooks.internal:9999", "https://hooks.internal/"),
        ("hooks.internal:9999", "https://hooks.internal:9998/"),
        ("10.0.0.0/24", "https://other.internal/"),
        ("10.0.0.0/8", "https://other.internal:1234/"),
    ],
)
async def test_what_an_allowed_host_does_not_allow(entry: str, url: str) -> None:
    targets = make_targets(leading_to("10.0.9.7"), allow_hosts=entry)
    with pytest.raises(TargetError):
        await reach(targets, url)

"""Which addresses are global, whatever they are hidden in."""

from ipaddress import ip_address

import pytest

from sse_node.webhooks.addresses import is_global, parse_address

GLOBAL = [
    "8.8.8.8",
    "1.1.1.1",
    "2606:4700:4700::1111",
    "::ffff:8.8.8.8",
    "2002:808:808::1",  # 6to4 of 8.8.8.8
    "64:ff9b::8.8.8.8",
]
LOCAL = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.0.8",
    "192.88.99.1",
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.1.1.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "fc00::1",
    "fd12::1",
    "ff02::1",
    "ff0e::1",
    "2001:db8::1",
    "2001::1",  # Teredo
    "100::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::8.8.8.8",
]


@pytest.mark.parametrize("address", GLOBAL)
def test_global(address: str) -> None:
    assert is_global(parse_address(address))


@pytest.mark.parametrize("address", LOCAL)
def test_not_global(address: str) -> None:
    assert not is_global(parse_address(address))


@pytest.mark.parametrize("address", [each for each in LOCAL if ":" not in each])
def test_what_is_local_is_so_in_every_wrapping(address: str) -> None:
    number = int(ip_address(address))
    for wrapped in (
        0xFFFF << 32 | number,
        number,
        0x2002 << 112 | number << 80 | 1,
        int(ip_address("64:ff9b::")) | number,
    ):
        assert not is_global(ip_address(wrapped.to_bytes(16)))

"""Which IP addresses are global, with those that are hidden in others taken out of them."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")  # RFC 4291 §2.4; the rest is reserved or local
_NAT64: Final = IPv6Network("64:ff9b::/96")  # RFC 6052
_COMPATIBLE: Final = IPv6Network("::/96")  # RFC 4291 §2.5.5.1, deprecated

# Global for some versions of Python: protocol assignments (RFC 6890), relays of 6to4 (RFC 7526).
_NOT_GLOBAL: Final = (IPv4Network("192.0.0.0/24"), IPv4Network("192.88.99.0/24"))


def parse_address(text: str) -> IPv4Address | IPv6Address:
    """Return the address of a text as `getaddrinfo` gives it, without a zone.

    Raises:
        ValueError: it is none.
    """
    return ip_address(text.partition("%")[0])


def innermost(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address to which an IPv6 address leads in the end, else the address.

    Mapped, compatible, 6to4 (RFC 3056) and NAT64 addresses hold one.
    """
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    is_local = address.is_loopback or address.is_unspecified
    if address in _NAT64 or (address in _COMPATIBLE and not is_local):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def is_global(address: IPv4Address | IPv6Address) -> bool:
    """Return whether an address is one of the public internet, hidden ones looked at."""
    inner = innermost(address)
    if not inner.is_global or inner.is_multicast or inner.is_reserved:
        return False
    if isinstance(inner, IPv4Address):
        return not any(inner in network for network in _NOT_GLOBAL)
    # Teredo (RFC 4380) holds a server and a client; nobody receives webhooks there.
    return inner in _GLOBAL_UNICAST and inner.teredo is None

"""The address of a client behind trusted proxies, and the unit that limits count it by."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from sse_node.http.peer import UNIX
from sse_node.wire.http_head import Request

_IPV6_PREFIX: Final = 64
# 45 of an IPv6 address that ends as an IPv4 one, and a scope. Longer text is no address.
_MAX_LENGTH: Final = 64
# Addresses that are not parsed again: parsing and checking one takes 5 us. Arbitrary.
_CACHED: Final = 4096


class TrustedPeers:
    """The peers whose `X-Forwarded-For` and user headers count (`--forwarded-allow-ips`).

    Args:
        text: addresses and networks, separated by commas; `*` trusts every peer. Unix sockets are
            always trusted.
    """

    def __init__(self, text: str) -> None:
        parts = [part.strip() for part in text.split(",") if part.strip()]
        self._all = "*" in parts
        self._networks = [ip_network(part, strict=False) for part in parts if part != "*"]
        self._is_in_networks = lru_cache(_CACHED)(self._look_up)

    def trusts(self, address: str) -> bool:
        """Return whether a peer or an entry of `X-Forwarded-For` is a trusted proxy."""
        if self._all or address == UNIX:
            return True
        return len(address) <= _MAX_LENGTH and self._is_in_networks(address)

    def _look_up(self, address: str) -> bool:
        parsed = _parse(address)
        return parsed is not None and any(parsed in network for network in self._networks)

    def client_of(self, request: Request) -> str:
        """Return the address of a request's client.

        It is the peer, or the rightmost entry of `X-Forwarded-For` that no trusted proxy has.
        An entry that is no address ends the search: what is left of it cannot be believed.
        """
        client = request.peer
        if not self.trusts(client):
            return client
        entries = (request.header(b"x-forwarded-for") or "").split(",")
        for entry in reversed(entries):
            address = _without_port(entry.strip())
            if _parse(address) is None:
                break
            client = address
            if not self.trusts(client):
                break
        return client


def counted_as(address: str) -> str:
    """Return the unit that limits count an address by: itself, or the /64 of an IPv6 address."""
    return _counted_as(address) if len(address) <= _MAX_LENGTH else address


@lru_cache(_CACHED)
def _counted_as(address: str) -> str:
    parsed = _parse(address)
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((parsed, _IPV6_PREFIX), strict=False))
    return str(parsed) if parsed is not None else address


def _parse(address: str) -> IPv4Address | IPv6Address | None:
    if len(address) > _MAX_LENGTH:
        return None
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    return getattr(parsed, "ipv4_mapped", None) or parsed


def _without_port(entry: str) -> str:
    """Return the address of `1.2.3.4:80`, `[::1]:80` or `::1`."""
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    return entry.partition(":")[0] if entry.count(":") == 1 else entry

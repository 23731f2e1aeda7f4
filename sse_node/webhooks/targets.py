"""Where webhooks may go: a URL is checked when it is registered, its addresses before each use.

A URL may lead to public addresses only, over https, on the ports of `--webhook-ports`. An entry of
`--webhook-allow-hosts` lifts the limits of addresses and ports for a host or a network.
"""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Final
from urllib.parse import SplitResult, urlsplit

from sse_node.config.webhooks import WebhooksSettings
from sse_node.errors import TargetError, UnresolvedTargetError
from sse_node.webhooks.addresses import is_global, parse_address

MAX_URL: Final = 2048
URL_EXPECTED: Final = "an https URL of at most 2,048 characters"
_CHARACTERS: Final = re.compile(r"[!-~]+")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_LOOKUP_TIMEOUT_S: Final = 3.0
_MAX_LOOKUPS: Final = 64  # at once; arbitrary
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?")

Lookup = Callable[[str, int], Awaitable[list[str]]]
"""Returns the addresses of a host; raises OSError."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that has been checked.

    Attributes:
        url: as it was given.
        host: a name or an address, in lower case, without brackets.
        port: of the URL, or of its scheme.
    """

    url: str
    host: str
    port: int

    @property
    def place(self) -> str:
        """The host and the port, for people and for what receivers share."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


async def look_up(host: str, port: int) -> list[str]:
    """Return the addresses of a host by the system's resolver."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Targets:
    """The rules for URLs and addresses; lives as long as its process.

    Args:
        settings: the rules.
        lookup: finds the addresses of a host.
    """

    def __init__(self, settings: WebhooksSettings, lookup: Lookup = look_up) -> None:
        self._schemes = {"https", "http"} if settings.allow_http else {"https"}
        self._ports = settings.ports
        self._hosts = {entry for entry in settings.allow_hosts if "/" not in entry}
        self._networks = [ip_network(each) for each in settings.allow_hosts if "/" in each]
        self._lookup = lookup
        self._room = asyncio.Semaphore(_MAX_LOOKUPS)

    def parse(self, url: str) -> Target:
        """Return the target of a URL.

        Raises:
            TargetError: it is no URL of a receiver, or its scheme or port is not allowed.
        """
        parts = _split(url)
        if parts.scheme not in self._schemes:
            raise TargetError(f"expected {' or '.join(sorted(self._schemes))}")
        if parts.username is not None or parts.fragment:
            raise TargetError("expected a URL without a user and without a fragment")
        target = Target(url, (parts.hostname or "").rstrip("."), _port_of(parts))
        if not _is_host(target.host):
            raise TargetError("expected a host name or an address")
        if target.port not in self._ports and not self._is_allowed(target):
            ports = " or ".join(map(str, self._ports))
            raise TargetError(f"port {target.port} is not allowed; expected {ports}")
        return target

    async def resolve(self, target: Target) -> list[str]:
        """Return the addresses of a target, all of which may be connected to.

        Raises:
            UnresolvedTargetError: it has none, or the lookup takes too long.
            TargetError: it has one that is not allowed.
        """
        try:
            async with self._room, asyncio.timeout(_LOOKUP_TIMEOUT_S):
                addresses = await self._lookup(target.host, target.port)
        except TimeoutError:
            raise UnresolvedTargetError(
                f"{target.host}: its name was not resolved in time"
            ) from None
        except (OSError, UnicodeError):
            raise UnresolvedTargetError(f"{target.host}: the host has no address") from None
        self.check(target, addresses)
        return addresses

    def check(self, target: Target, addresses: Iterable[str]) -> None:
        """Reject a target of which one address is not allowed.

        Raises:
            TargetError: naming the address.
        """
        for address in addresses:
            if not self.may_connect(target, address):
                raise TargetError(f"{target.host} leads to {address}, which is not public")

    def may_connect(self, target: Target, address: str) -> bool:
        """Return whether a target may be reached at an address."""
        parsed = parse_address(address)
        return (
            is_global(parsed)
            or self._is_allowed(target)
            or any(parsed in network for network in self._networks)
        )

    def _is_allowed(self, target: Target) -> bool:
        """Return whether an entry of `--webhook-allow-hosts` names a target."""
        if target.host in self._hosts or target.place in self._hosts:
            return True
        try:
            address = parse_address(target.host)
        except ValueError:
            return False
        return any(address in network for network in self._networks)


def _split(url: str) -> SplitResult:
    """Return the parts of a URL that has only characters that a URL may have."""
    if len(url) > MAX_URL or not _CHARACTERS.fullmatch(url) or "\\" in url:
        raise TargetError(f"expected {URL_EXPECTED}")
    try:
        return urlsplit(url)
    except ValueError:
        raise TargetError(f"expected {URL_EXPECTED}") from None


def _port_of(parts: SplitResult) -> int:
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise TargetError("expected a port from 1 to 65535")
    return port or _DEFAULT_PORTS[parts.scheme]


def _is_host(host: str) -> bool:
    if _NAME.fullmatch(host) and len(host) <= 253:
        return True
    try:
        parse_address(host)
    except ValueError:
        return False
    return "%" not in host

"""Names of hosts in settings: origins of pages (RFC 6454), hosts that requests may name.

Browsers send both in one form only (WHATWG URL, host parsing and serializing): lower case, without
the scheme's default port, internationalized names in Punycode, addresses in their short form.
Settings are brought into this form. A value without such a form would never match, so it is
rejected.
"""

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_address
from typing import Final

from sse_node.errors import ConfigError

ANY: Final = "*"
NULL: Final = "null"
"""The origin of sandboxed frames, and of pages from files: every page can have it."""

_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}
# Their pages have other origins: that of the page that opened the socket, or null.
_NEVER_ORIGINS: Final = frozenset(
    {"about", "blob", "data", "file", "ftp", "javascript", "ws", "wss"}
)
_ORIGIN: Final = re.compile(
    r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#@:\[\]\s]+|\[[0-9A-Fa-f:.]+\])(?::(\d{0,5}))?"
)
_NAME: Final = re.compile(r"[a-z0-9_.-]{1,253}")
# The last label of what browsers take for an IPv4 address: 127.1, 0x7f000001.
_LOOKS_LIKE_IPV4: Final = re.compile(r"(?:.*\.)?(?:\d+|0[Xx][0-9A-Fa-f]*)\.?")
# Browsers keep these letters (UTS 46), Python's codec replaces or removes them (RFC 3490).
_DIFFERENT_IN_IDNA: Final = re.compile("[\u00df\u03c2\u1e9e\u200c\u200d]")

_ORIGIN_EXPECTED: Final = (
    "origins such as https://app.example, without a path or wildcard, the host in Punycode "
    "(xn--) if need be; null, or *"
)
_HOST_EXPECTED: Final = "hosts such as app.example, .example.com or 10.0.0.7, without a port, or *"


def parse_origins(setting: str, text: str) -> tuple[str, ...]:
    """Return origins that are separated by commas, as browsers send them; `*` stands for any.

    Raises:
        ConfigError: no browser sends such an origin.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    return tuple(dict.fromkeys(_origin(setting, part) for part in parts))


def _origin(setting: str, text: str) -> str:
    if text in {ANY, NULL}:
        return text
    match = _ORIGIN.fullmatch(text)
    if match is not None:
        scheme, port = match[1].lower(), (match[3] or "").lstrip("0") or match[3]
        host = _normalized(match[2])
        if host and scheme not in _NEVER_ORIGINS and int(port or 0) <= 65535:
            is_default = not port or port == _DEFAULT_PORTS.get(scheme)
            return f"{scheme}://{host}" if is_default else f"{scheme}://{host}:{port}"
    raise ConfigError(setting, text, _ORIGIN_EXPECTED)


def parse_hosts(setting: str, text: str) -> tuple[str, ...]:
    """Return hosts that are separated by commas, as browsers send them, without ports.

    `.example.com` stands for example.com and every name below it, `*` for any host.

    Raises:
        ConfigError: no browser sends such a host.
    """
    hosts = []
    for part in (part.strip() for part in text.split(",") if part.strip()):
        name = part.removeprefix(".").removesuffix(".")
        if ":" in name and not name.startswith("["):
            name = f"[{name}]"
        host = ANY if part == ANY else _normalized(name)
        if not host or host.startswith(".") or (part.startswith(".") and is_address(host)):
            raise ConfigError(setting, part, _HOST_EXPECTED)
        hosts.append(f".{host}" if part.startswith(".") else host)
    return tuple(dict.fromkeys(hosts))


def _normalized(host: str) -> str:
    """Return a host as browsers send it; empty when they send no such host."""
    if host.startswith("["):
        return _normalized_ipv6(host[1:-1])
    if not host.isascii():
        host = _punycode(host)
    host = host.lower()
    if _NAME.fullmatch(host) is None:
        return ""
    if _LOOKS_LIKE_IPV4.fullmatch(host) is not None:
        return host if is_address(host) else ""
    return host


def _punycode(host: str) -> str:
    if _DIFFERENT_IN_IDNA.search(host) is not None:
        return ""
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:  # a letter that is newer than the codec, or a label that is too long
        return ""


def _normalized_ipv6(text: str) -> str:
    try:
        address = IPv6Address(text)
    except AddressValueError:
        return ""
    mapped = address.ipv4_mapped
    if mapped is not None:  # Python 3.13 writes it with dots
        return f"[::ffff:{int(mapped) >> 16:x}:{int(mapped) & 0xFFFF:x}]"
    return f"[{address}]"


def is_address(host: str) -> bool:
    """Return whether a host is an IP address; IPv6 with or without brackets."""
    return _address(host) is not None


def is_loopback(host: str) -> bool:
    """Return whether a host can only be this machine: an address of it, or localhost.

    Browsers and resolvers never look up `localhost` and the names below it elsewhere (RFC 6761
    §6.3).
    """
    name = host.removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = _address(host)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address is not None and address.is_loopback


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host.strip("[]"))
    except ValueError:
        return None

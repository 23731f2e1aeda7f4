"""Hosts that requests may name (RFC 9110 §7.4): a defence against DNS rebinding.

A page of `evil.example` may give that name this machine's address; for the browser the node is then
of the page's own origin, and the page may read everything. Its requests name the page's host.
"""

from collections.abc import Collection
from functools import lru_cache
from typing import Final

from sse_node.config.hosts import ANY, is_loopback
from sse_node.config.sections import ListenSettings
from sse_node.errors import RequestError
from sse_node.wire.http_head import Request

# Orchestrators and balancers probe by address; these answers hold nothing of any user.
_OPEN_PATHS: Final = frozenset({"/health", "/health/live", "/health/ready"})
_CACHED: Final = 256  # arbitrary; clients choose the names


class AllowedHosts:
    """Rejects requests for other hosts; lives as long as the node.

    Args:
        names: as browsers send them, without ports; `.example.com` stands for example.com and all
            names below it, `*` for any. Names and addresses of loopback are always allowed: no page
            of another machine can have them.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._is_any = ANY in names
        self._names = frozenset(names)
        self._suffixes = tuple(name for name in names if name.startswith("."))
        self._allows = lru_cache(_CACHED)(self._look_up)

    def check(self, request: Request) -> None:
        """Reject a request for another host, unless it asks for the node's health.

        A request without a Host comes from no browser.

        Raises:
            RequestError: 421.
        """
        if self._is_any:
            return
        value = request.headers.get(b"host")
        if value is not None and not self._allows(value) and request.path not in _OPEN_PATHS:
            raise RequestError(
                421, f"Host {value.decode('latin-1')!r:.280}: expected one of --allowed-hosts"
            )

    def _look_up(self, value: bytes) -> bool:
        host = value.decode("latin-1").lower()
        host = host[: host.rfind("]") + 1] if host.startswith("[") else host.partition(":")[0]
        host = host.removesuffix(".")
        return host in self._names or f".{host}".endswith(self._suffixes) or is_loopback(host)


def hosts_by_default(listen: ListenSettings) -> tuple[str, ...]:
    """Return which hosts are allowed when `--allowed-hosts` names none.

    Only this machine reaches a node on loopback, under names of loopback. Behind a Unix socket is a
    proxy, and other addresses have names that the node does not know.
    """
    return () if not listen.uds and is_loopback(listen.host) else (ANY,)

"""What receivers on one host share: how many requests at once, and a circuit breaker."""

import asyncio
import random
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

_AT_ONCE: Final = 10
# Requests in a row without an answer after which nothing is sent for a while; then one is tried.
_FAILURES: Final = 5
_OPEN_S: Final = 30.0
_MAX_OPEN_S: Final = 300.0
# What is turned away comes back after this time, longer the more there are.
_BUSY_S: Final = 0.1
_MAX_HOSTS: Final = 10_000  # remembered; those without a request are forgotten first


@dataclass(slots=True)
class Host:
    """One host and port, as far as it is known.

    Attributes:
        in_flight: requests that have not been answered.
        failures: requests in a row without an answer.
        open_until: event loop time before which nothing is sent.
        has_answered: the last request was answered.
        turned_away: requests for which there was no room, recent ones count more.
    """

    in_flight: int = 0
    turned_away: int = 0
    failures: int = 0
    open_until: float = 0.0
    has_answered: bool = False

    @property
    def is_broken(self) -> bool:
        """Whether the breaker has opened, and no request has been answered since."""
        return self.failures >= _FAILURES


class Hosts:
    """All hosts; lives as long as the process.

    Args:
        scale: of the times that a breaker is open.
    """

    def __init__(self, scale: float = 1.0) -> None:
        self._scale = scale
        self._hosts: OrderedDict[str, Host] = OrderedDict()

    @property
    def broken(self) -> int:
        """How many hosts nothing is sent to, except to try them."""
        return sum(host.is_broken for host in self._hosts.values())

    def enter(self, place: str) -> tuple[Host | None, float]:
        """Return the host for one request, or None and the seconds after which to come back.

        A host that is returned must be left. Broken hosts are distinguished by `is_broken`.
        """
        wait_s = self.wait_s(place)
        if wait_s is not None:
            return None, wait_s
        host = self._hosts[place]
        host.in_flight += 1
        return host, 0.0

    def wait_s(self, place: str) -> float | None:
        """Return after how many seconds to come back; None when there is room for a request."""
        host = self._hosts.setdefault(place, Host())
        self._hosts.move_to_end(place)
        self._forget()
        now = asyncio.get_running_loop().time()
        if host.is_broken and (host.in_flight or now < host.open_until):
            return max(0.0, host.open_until - now) + random.uniform(0, _OPEN_S * self._scale)
        # One that has just failed to answer is tried by one request at a time.
        if host.in_flight >= (1 if host.failures else _AT_ONCE):
            host.turned_away += 1
            return random.uniform(_BUSY_S, _BUSY_S * (2 + host.turned_away / _AT_ONCE))
        return None

    def is_broken(self, place: str) -> bool:
        """Return whether a host's breaker has opened."""
        host = self._hosts.get(place)
        return host is not None and host.is_broken

    def has_answered(self, place: str) -> bool:
        """Return whether a host's last request was answered, and it has had one."""
        host = self._hosts.get(place)
        return host is not None and host.has_answered

    def leave(self, host: Host, *, answered: bool) -> None:
        """Note the end of a request."""
        host.in_flight -= 1
        host.turned_away //= 2
        host.has_answered = answered
        if answered:
            host.failures = 0
            return
        host.failures += 1
        if host.is_broken:
            open_s = min(_OPEN_S * 2 ** min(10, host.failures - _FAILURES), _MAX_OPEN_S)
            host.open_until = asyncio.get_running_loop().time() + open_s * self._scale

    def _forget(self) -> None:
        if len(self._hosts) <= _MAX_HOSTS:
            return
        for place in list(self._hosts)[: len(self._hosts) - _MAX_HOSTS]:
            if not self._hosts[place].in_flight:
                del self._hosts[place]

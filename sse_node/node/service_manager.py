"""The service manager that started this process: systemd's readiness, watchdog and sockets.

It is told by datagrams what the process does (sd_notify(3)), wants life signs
(sd_watchdog_enabled(3)), and may have opened the socket to listen on (sd_listen_fds(3)). Without
one nothing of this happens. Child processes do not inherit its variables.
"""

import contextlib
import os
import socket
from collections.abc import MutableMapping
from time import monotonic_ns
from typing import Final

from sse_node.errors import ConfigError

_FIRST_DESCRIPTOR: Final = 3  # SD_LISTEN_FDS_START
_VARIABLES: Final = (
    "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"
)  # fmt: skip
_EXPECTED: Final = "one listening TCP socket, or Unix socket with a path"


class ServiceManager:
    """What this process and its service manager share; lives as long as the process.

    Args:
        environment: as `os.environ`; its variables are removed from it.

    Attributes:
        listener: the socket to listen on; None when the settings say where.
        watchdog_s: how often it has to hear a life sign at least; 0 for never.

    Raises:
        ConfigError: it gives a socket that cannot be used.
    """

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        given = {name: environment.pop(name, "") for name in _VARIABLES}
        self._is_reloading = False
        self._address = _address_of(given["NOTIFY_SOCKET"])
        self.watchdog_s = 0.0
        if self._address and _is_ours(given["WATCHDOG_PID"] or str(os.getpid())):
            self.watchdog_s = int(given["WATCHDOG_USEC"] or 0) / 1_000_000
        self.listener: socket.socket | None = None
        if given["LISTEN_FDS"] and _is_ours(given["LISTEN_PID"]):
            self.listener = _take_listener(given["LISTEN_FDS"])

    @property
    def flags(self) -> dict[str, str | None]:
        """The settings that its socket decides, as flags: where the node listens."""
        if self.listener is None:
            return {}
        if self.listener.family == socket.AF_UNIX:
            return {"uds": self.listener.getsockname()}
        host, port = self.listener.getsockname()[:2]
        return {"host": host, "port": str(port), "uds": ""}

    def on_ready(self, status: str) -> None:
        """Report that the node listens, or has reloaded its settings; a status is for people."""
        self._is_reloading = False
        self._notify("READY=1", f"STATUS={status}")

    def on_reload(self) -> None:
        """Report that settings are being reloaded; `on_ready` follows."""
        self._is_reloading = True
        self._notify("RELOADING=1", f"MONOTONIC_USEC={monotonic_ns() // 1000}", "STATUS=reloading")

    def on_stop(self) -> None:
        """Report that the node stops."""
        self._is_reloading = False
        self._notify("STOPPING=1", "STATUS=draining")

    def on_alive(self, *, is_reloading: bool = False) -> None:
        """Give a life sign, if they are wanted, and report the end of a reload."""
        if self.watchdog_s:
            self._notify("WATCHDOG=1")
        if self._is_reloading and not is_reloading:
            self._is_reloading = False
            self.on_ready("serving")

    def _notify(self, *lines: str) -> None:
        if not self._address:
            return
        with (
            contextlib.suppress(OSError),  # it is restarting itself, or gone
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
        ):
            sender.setblocking(False)
            sender.sendto("\n".join(lines).encode(), self._address)


def _is_ours(pid: str) -> bool:
    return pid == str(os.getpid())


def _address_of(text: str) -> str:
    """Return the address of a Unix socket; `@` stands for an abstract one."""
    return "\0" + text[1:] if text.startswith("@") else text


def _take_listener(count: str) -> socket.socket:
    if count != "1":
        raise ConfigError("LISTEN_FDS", count, _EXPECTED)
    try:
        listener = socket.socket(fileno=_FIRST_DESCRIPTOR)
    except OSError as exc:
        raise ConfigError("LISTEN_FDS", count, _EXPECTED) from exc
    address = listener.getsockname()
    is_listening = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if not is_listening or isinstance(address, bytes):  # bytes: an abstract Unix socket
        listener.close()
        raise ConfigError("LISTEN_FDS", str(address), _EXPECTED)
    listener.set_inheritable(False)
    listener.setblocking(False)
    return listener

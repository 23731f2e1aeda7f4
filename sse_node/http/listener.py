"""Sockets to listen on, with what accepted connections inherit from them."""

import contextlib
import errno
import socket
from pathlib import Path

from sse_node.errors import ConfigError


def tcp_listener(
    host: str,
    port: int,
    *,
    user_timeout_ms: int,
    shares_port: bool = False,
    setting: str = "--host, --port",
) -> socket.socket:
    """Return a socket bound to an address; its options hold for every accepted connection.

    Args:
        host: a name or an address.
        port: 0 lets the kernel choose.
        user_timeout_ms: TCP_USER_TIMEOUT, where there is one; 0 for the kernel's default.
        shares_port: others of this user's that share it, too, may be bound to the same address
            (SO_REUSEPORT); the kernel deals connections out to those that listen.
        setting: named in errors.

    Raises:
        ConfigError: the address cannot be listened on.
    """
    with contextlib.ExitStack() as on_failure:
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            listener = on_failure.enter_context(socket.socket(family, kind, protocol))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            set_tcp_options(listener, user_timeout_ms)
            if shares_port:
                share_port(listener)
            listener.bind(address)
        except (OSError, UnicodeError) as exc:  # UnicodeError: a name that no host can have
            raise ConfigError(
                setting, f"{host}:{port}", f"an address to listen on ({_reason(exc)})"
            ) from exc
        on_failure.pop_all()
    listener.setblocking(False)
    return listener


def set_tcp_options(listener: socket.socket, user_timeout_ms: int) -> None:
    """Set the options of TCP that accepted connections inherit; see `tcp_listener`."""
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if user_timeout_ms and hasattr(socket, "TCP_USER_TIMEOUT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, user_timeout_ms)


def listen(listener: socket.socket, backlog: int, *, setting: str = "--host, --port") -> None:
    """Listen on a bound socket; errors name a setting.

    Raises:
        ConfigError: another process was faster: several may bind an address until one listens.
    """
    try:
        listener.listen(backlog)
    except OSError as exc:
        host, port = listener.getsockname()[:2]
        raise ConfigError(
            setting, f"{host}:{port}", f"an address to listen on ({_reason(exc)})"
        ) from exc


def share_port(listener: socket.socket) -> None:
    """Allow other sockets of this user that share ports to bind a listener's address."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


def unix_listener(path: str, *, setting: str = "--uds", mode: int = 0o666) -> socket.socket:
    """Return a socket bound to a path, in place of one that nobody listens on any more.

    Args:
        path: of the socket.
        setting: named in errors.
        mode: who may connect; nginx runs as another user.

    Raises:
        ConfigError: the path cannot be listened on.
    """
    with contextlib.ExitStack() as on_failure:
        listener = on_failure.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        try:
            if Path(path).is_socket() and not _is_abandoned(path):
                raise ConfigError(setting, path, "a socket that no other process listens on")
            if Path(path).is_socket():
                Path(path).unlink()
            listener.bind(path)
            Path(path).chmod(mode)
        except OSError as exc:
            raise ConfigError(setting, path, f"a path for a socket ({_reason(exc)})") from exc
        on_failure.pop_all()
    listener.setblocking(False)
    return listener


def address_of(listener: socket.socket) -> str:
    """Return where a socket listens, for people."""
    if listener.family == socket.AF_UNIX:
        return f"unix:{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _is_abandoned(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a full backlog is somebody's, too
        return probe.connect_ex(path) == errno.ECONNREFUSED


def remove_socket(path: str, inode: int) -> None:
    """Remove a node's socket, but not the one that its successor has put in its place."""
    with contextlib.suppress(FileNotFoundError):
        if Path(path).stat().st_ino == inode:
            Path(path).unlink()


def _reason(exc: Exception) -> str:
    return getattr(exc, "strerror", None) or str(exc)

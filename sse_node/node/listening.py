"""The sockets of a node, made as its settings say."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

from sse_node.config.sections import AccessSettings, ListenSettings
from sse_node.http.listener import (
    listen,
    remove_socket,
    set_tcp_options,
    share_port,
    tcp_listener,
    unix_listener,
)

_ADMIN_BACKLOG = 64  # arbitrary


def make_listener(
    settings: ListenSettings, *, port: int = 0, shares_port: bool = False
) -> socket.socket:
    """Return a socket that is bound and does not listen yet.

    Args:
        settings: where, and with which socket options.
        port: instead of the settings' one, when that lets the kernel choose.
        shares_port: with the other workers.

    Raises:
        ConfigError: the address cannot be bound.
    """
    if settings.uds:
        return unix_listener(settings.uds)
    return tcp_listener(
        settings.host,
        settings.port or port,
        user_timeout_ms=settings.tcp_user_timeout,
        shares_port=shares_port,
    )


def adopt_listener(listener: socket.socket, settings: ListenSettings) -> None:
    """Prepare a socket that the service manager has opened, as the settings say."""
    if listener.family != socket.AF_UNIX:
        set_tcp_options(listener, settings.tcp_user_timeout)
    listener.listen(settings.backlog)


def make_admin_listener(
    settings: AccessSettings, on_exit: contextlib.ExitStack
) -> socket.socket | None:
    """Return the listening socket of operators, None when the settings have none.

    Args:
        settings: where.
        on_exit: closes it.

    Raises:
        ConfigError: the address cannot be listened on.
    """
    path = settings.admin_uds
    if path:
        listener = unix_listener(path, setting="--admin-uds", mode=0o660)
        on_exit.callback(remove_socket, path, Path(path).stat().st_ino)
    elif settings.admin_port:
        listener = tcp_listener(
            "127.0.0.1", settings.admin_port, user_timeout_ms=0, setting="--admin-port"
        )
    else:
        return None
    on_exit.enter_context(listener)
    listen(listener, _ADMIN_BACKLOG, setting="--admin-port")
    return listener


def make_worker_listeners(
    settings: ListenSettings,
    count: int,
    on_exit: contextlib.ExitStack,
    given: socket.socket | None = None,
) -> Iterator[socket.socket]:
    """Yield the listening sockets of `count` workers; connections wait there from now on.

    Args:
        settings: where, and with which socket options.
        count: workers share one Unix socket, or have a socket each that shares the TCP port.
        on_exit: closes them.
        given: the socket that the service manager has opened, which workers share.

    Raises:
        ConfigError: the address cannot be listened on.
    """
    if given is not None:
        adopt_listener(on_exit.enter_context(given), settings)
        yield from [given] * count
        return
    first = on_exit.enter_context(make_listener(settings))
    if settings.uds:
        on_exit.callback(remove_socket, settings.uds, Path(settings.uds).stat().st_ino)
        first.listen(settings.backlog)
        yield from [first] * count
        return
    listen(first, settings.backlog)  # before it shares the port, so that no other node has it
    share_port(first)
    yield first
    port = first.getsockname()[1]
    for _ in range(1, count):
        listener = on_exit.enter_context(make_listener(settings, port=port, shares_port=True))
        listen(listener, settings.backlog)
        yield listener

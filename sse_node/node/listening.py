"""Where a node listens: its sockets, made as the settings say."""

import socket

from sse_node.config import Settings
from sse_node.http.listener import tcp_listener, unix_listener


def make_listener(settings: Settings, *, port: int = 0, shares_port: bool = False) -> socket.socket:
    """Return a socket bound to where the settings say.

    Args:
        settings: of the node.
        port: instead of the settings' one, when that lets the kernel choose.
        shares_port: with the other workers.

    Raises:
        ConfigError: it cannot be listened on.
    """
    if settings.uds:
        return unix_listener(settings.uds)
    return tcp_listener(
        settings.host,
        settings.port or port,
        send_buffer_bytes=settings.send_buffer,
        user_timeout_ms=settings.tcp_user_timeout,
        shares_port=shares_port,
    )

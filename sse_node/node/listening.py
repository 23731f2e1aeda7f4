"""Where a node listens: its sockets, made as the settings say."""

import socket

from sse_node.config.sections import ListenSettings
from sse_node.http.listener import tcp_listener, unix_listener


def make_listener(
    listen: ListenSettings, *, port: int = 0, shares_port: bool = False
) -> socket.socket:
    """Return a socket bound to where the settings say.

    Args:
        listen: where, and with which socket options.
        port: instead of the settings' one, when that lets the kernel choose.
        shares_port: with the other workers.

    Raises:
        ConfigError: it cannot be listened on.
    """
    if listen.uds:
        return unix_listener(listen.uds)
    return tcp_listener(
        listen.host,
        listen.port or port,
        send_buffer_bytes=listen.send_buffer,
        user_timeout_ms=listen.tcp_user_timeout,
        shares_port=shares_port,
    )

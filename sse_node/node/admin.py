"""The listener of operators: /metrics, /status and revocations, without a key."""

import asyncio
import contextlib
import socket
import sys
from typing import Any

from sse_node.config.sections import AccessSettings
from sse_node.http.connection import HttpConnection
from sse_node.http.site import HttpSite
from sse_node.node.listening import make_admin_listener

# Else event loops of Python 3.13 remove the socket of all workers when one closes it.
_KEEP_SOCKET: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}


class AdminListener:
    """The admin listener of one process; lives as long as the node.

    Args:
        site: whose requests are admitted as those of an operator.
        settings: where to listen.
        descriptor: of the socket that a worker inherits; -1 for none.
    """

    def __init__(self, site: HttpSite, settings: AccessSettings, descriptor: int = -1) -> None:
        self._site = site
        self._settings = settings
        self._descriptor = descriptor
        self._listener: asyncio.Server | None = None
        self._on_exit = contextlib.ExitStack()

    async def start(self) -> None:
        """Listen, if the settings say where.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        if self._descriptor >= 0:
            listener: socket.socket | None = socket.socket(fileno=self._descriptor)
        else:
            listener = make_admin_listener(self._settings, self._on_exit)
        if listener is None:
            return
        loop = asyncio.get_running_loop()
        make_connection = lambda: HttpConnection(self._site)  # noqa: E731
        if listener.family == socket.AF_UNIX:
            self._listener = await loop.create_unix_server(
                make_connection, sock=listener, **_KEEP_SOCKET
            )
        else:
            self._listener = await loop.create_server(make_connection, sock=listener)

    def shutdown(self) -> None:
        """Close the listener and its connections."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for connection in list(self._site.connections):
            connection.abort()
        self._on_exit.close()

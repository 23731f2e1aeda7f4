"""The address at the other end of a connection."""

import asyncio
import socket
from typing import Final

UNIX: Final = ""
"""The peer of a connection over a Unix socket."""
UNKNOWN: Final = "unknown"
"""The peer of a TCP connection that the client has reset meanwhile: no address, and not trusted."""


def peer_of(transport: asyncio.BaseTransport | None) -> str:
    """Return the address of a connection's client; UNIX or UNKNOWN where it has none."""
    if transport is None:
        return UNKNOWN
    name = transport.get_extra_info("peername")
    if isinstance(name, tuple):
        return str(name[0])
    connection = transport.get_extra_info("socket")
    is_unix = connection is not None and connection.family == socket.AF_UNIX
    return UNIX if is_unix else UNKNOWN

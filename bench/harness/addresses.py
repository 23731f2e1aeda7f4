"""Requests to what listens on this machine."""

import contextlib
import socket

import httpx


def free_port() -> int:
    """Return a free TCP port on loopback, chosen by the kernel."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class ReservedPort:
    """A free TCP port on loopback that the kernel gives to no other program, until `close`.

    For servers that take seconds to start, or are restarted. They can listen on it, since the
    socket that reserves it does not listen, and they set SO_REUSEADDR.

    Attributes:
        number: of the port, chosen by the kernel.
    """

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.number: int = self._socket.getsockname()[1]

    def close(self) -> None:
        """Give the port back. Idempotent."""
        self._socket.close()


def accepts(host: str, port: int) -> bool:
    """Return whether a server accepts connections there."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1.0):
        return True
    return False


def ask(address: str, request: bytes, timeout_s: float = 2.0) -> bytes:
    """Return the first bytes of the response to `request`; empty without a response.

    `address` is `unix:/path` or `http://host:port`.
    """
    family = socket.AF_UNIX if address.startswith("unix:") else socket.AF_INET
    with socket.socket(family) as connection, contextlib.suppress(OSError):
        connection.settimeout(timeout_s)
        if family == socket.AF_UNIX:
            connection.connect(address.removeprefix("unix:"))
        else:
            host, _, port = address.removeprefix("http://").rpartition(":")
            connection.connect((host, int(port)))
        connection.sendall(request)
        return connection.recv(65536)
    return b""


def get(address: str, target: str, timeout_s: float = 10.0, key: str = "") -> httpx.Response:
    """Return the response to one GET request. Raises httpx.HTTPError.

    Args:
        address: `unix:/path` or `http://host:port`.
        target: the path, such as `/metrics`.
        timeout_s: for each step of the request.
        key: an API key; empty for none.
    """
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    is_unix = address.startswith("unix:")
    path = address.removeprefix("unix:") if is_unix else None
    transport = httpx.HTTPTransport(uds=path, verify=False)  # authorities take 50 ms to load
    with httpx.Client(transport=transport, timeout=timeout_s, headers=headers) as http:
        return http.get(("http://localhost" if is_unix else address) + target)

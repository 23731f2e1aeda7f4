"""The HTTP client of webhooks: one POST to a checked address, and a little of the answer.

aiohttp asks a resolver of ours for the addresses of a name and a factory of ours for each socket,
so that a connection goes to an address that was checked, with the name in SNI and Host. No
redirects, no proxies, no cookies; answers are not decompressed.
"""

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from sse_node import __version__
from sse_node.errors import TargetError, reason_of
from sse_node.webhooks.addresses import parse_address
from sse_node.webhooks.schedule import Answer
from sse_node.webhooks.targets import Target, Targets

_CONNECT_S: Final = 3.0
_TOTAL_S: Final = 10.0
_MAX_ANSWER_BYTES: Final = 64 * 1024
_CHUNK_BYTES: Final = 16 * 1024
_KEEP_ALIVE_S: Final = 4.0  # less than the 5 s after which many servers close
_MAX_RETRY_AFTER_S: Final = 7 * 86_400.0


class _Addresses(AbstractResolver):
    """The addresses of the targets of requests in flight; any other is refused."""

    def __init__(self) -> None:
        self._of_host: dict[tuple[str, int], list[str]] = {}
        self._in_use: Counter[str] = Counter()

    def add(self, target: Target, addresses: list[str]) -> None:
        """Allow addresses that have been checked."""
        self._of_host[target.host, target.port] = addresses
        self._in_use.update(map(_normal, addresses))

    def remove(self, target: Target, addresses: list[str]) -> None:
        """Allow them no more."""
        if self._of_host.get((target.host, target.port)) is addresses:
            del self._of_host[target.host, target.port]
        self._in_use -= Counter(map(_normal, addresses))

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return what was checked for a host."""
        addresses = self._of_host.get((host.rstrip(".").lower(), port), [])
        if not addresses:
            raise OSError(None, "the host was not checked")
        return [_result(host, port, address) for address in addresses]

    def make_socket(self, info: tuple[Any, ...]) -> socket.socket:
        """Return a socket for an address, if that was checked."""
        family, kind, protocol, _, address = info
        if not self._in_use[_normal(address[0])]:
            raise OSError(None, "the address was not checked")
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""


def _normal(address: str) -> str:
    return str(parse_address(address))


def _result(host: str, port: int, address: str) -> ResolveResult:
    return ResolveResult(
        hostname=host,
        host=address,
        port=port,
        family=socket.AF_INET6 if ":" in address else socket.AF_INET,
        proto=socket.IPPROTO_TCP,
        flags=socket.AI_NUMERICHOST,
    )


class Sender:
    """Sends messages; made in a running event loop, lives as long as the process.

    Args:
        targets: the rules for URLs and addresses.
    """

    def __init__(self, targets: Targets) -> None:
        self._targets = targets
        self._addresses = _Addresses()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=self._addresses,
                use_dns_cache=False,
                limit=0,
                ssl=ssl.create_default_context(),
                keepalive_timeout=_KEEP_ALIVE_S,
                socket_factory=self._addresses.make_socket,
            ),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={
                "User-Agent": f"sse-node/{__version__}",
                "Content-Type": "application/json",
                "Accept-Encoding": "identity",
            },
        )

    async def send(self, target: Target, headers: Mapping[str, str], content: bytes) -> Answer:
        """Send one request to a target; what fails is in the answer.

        Args:
            target: its addresses are checked now.
            headers: besides those that every request has.
            content: of the request.
        """
        try:
            async with asyncio.timeout(_TOTAL_S):
                return await self._send(target, headers, content)
        except TargetError as exc:
            return Answer(None, str(exc))
        except (aiohttp.ClientError, OSError, TimeoutError) as exc:
            return _failure(exc)

    async def _send(self, target: Target, headers: Mapping[str, str], content: bytes) -> Answer:
        addresses = await self._targets.resolve(target)
        self._addresses.add(target, addresses)
        try:
            return await self._post(target, headers, content)
        except aiohttp.ServerDisconnectedError:
            # Of a kept connection that the receiver has just closed, most likely.
            return await self._post(target, headers, content)
        finally:
            self._addresses.remove(target, addresses)

    async def _post(self, target: Target, headers: Mapping[str, str], content: bytes) -> Answer:
        async with self._session.post(
            target.url, data=content, headers=headers, allow_redirects=False
        ) as response:
            await _read_some(response)
            return _answer(response)

    async def shutdown(self) -> None:
        """Close all connections."""
        await self._session.close()


async def _read_some(response: aiohttp.ClientResponse) -> None:
    """Read an answer to its end, or close the connection after the most that is read of it."""
    count = 0
    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
        count += len(chunk)
        if count >= _MAX_ANSWER_BYTES:
            response.close()
            return


def _answer(response: aiohttp.ClientResponse) -> Answer:
    status = response.status
    if 200 <= status < 300:
        return Answer(status)
    error = f"the receiver answered {status}"
    if 300 <= status < 400:
        error += "; redirects are not followed"
    return Answer(status, error, _retry_after_s(response.headers.get("Retry-After", "")))


def _retry_after_s(text: str) -> float:
    """Return the seconds of a Retry-After header (RFC 9110 §10.2.3), 0 for none."""
    if text.isascii() and text.isdigit():
        return min(float(text[:10]), _MAX_RETRY_AFTER_S)
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return min(max(0.0, (when - datetime.now(UTC)).total_seconds()), _MAX_RETRY_AFTER_S)


def _failure(exc: Exception) -> Answer:
    """Return the answer of a request that failed; errors of the client library end here."""
    if isinstance(exc, TimeoutError):
        is_connect = isinstance(exc, aiohttp.ConnectionTimeoutError)
        seconds = _CONNECT_S if is_connect else _TOTAL_S
        what = "no connection" if is_connect else "no complete answer"
        return Answer(None, f"{what} within {seconds:g} s", is_transport=True)
    if isinstance(exc, aiohttp.ClientConnectorCertificateError):
        return Answer(None, f"its certificate is not valid: {reason_of(exc)}", is_transport=True)
    if isinstance(exc, aiohttp.ClientPayloadError | aiohttp.ServerDisconnectedError):
        return Answer(
            None, "the connection was closed before the end of the answer", is_transport=True
        )
    return Answer(None, reason_of(exc), is_transport=True)

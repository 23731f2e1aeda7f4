"""One of redis-py's connections, connected as the subscriber is, which knows its server's clock.

A script that writes does nothing after its sender has given up. The moment is compared with the
server's clock, so it is computed for the connection that carries the command: after a failover the
next server's clock counts, and none is guessed before it was read.

Where another server may become the master, a stopped one may go on as a master of the past, and
carry out what waits in its socket, if that is not too late yet; servers of a cluster pass such an
event on to those that subscribe to the new master. So nothing is sent that writes to a server that
has not just answered.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import Any, Final

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as LibraryConnectionError
from redis.exceptions import NoPermissionError, ResponseError

from sse_node.redis.address import RedisAddress
from sse_node.redis.masters import TRUST_S
from sse_node.redis.tcp import Server
from sse_node.wire.resp import NAME_COMMAND, is_unavailable

# The most that the two clocks can drift apart unnoticed is what one of them is set by in this time.
_CLOCK_LIFE_S: Final = 10.0


class CommandConnection(AbstractConnection):
    """A connection for commands; created by the pool, lives until it breaks or the node ends.

    Args:
        address: the server, and who connects to it.
        name: what CLIENT LIST shows, where the server allows it.
        options: redis-py's.
    """

    def __init__(self, *, address: RedisAddress, name: str, **options: Any) -> None:  # noqa: ANN401
        super().__init__(
            db=address.database,
            username=address.username or None,
            password=address.password or None,
            driver_info=None,  # CLIENT SETINFO would be one more entry in the ACL's log
            **options,
        )
        self._address = address
        self._name = name
        self._server: Server | None = None
        self._clock_life_s = _CLOCK_LIFE_S if address.finder is None else TRUST_S
        self._clock_offset_ms = 0.0
        self._clock_read_s = float("-inf")

    def repr_pieces(self) -> list[tuple[str, str | int]]:
        """Return what redis-py shows of the connection; no password."""
        return [("address", str(self._address)), ("db", self.db)]

    def _host_error(self) -> str:
        return str(self._address)

    async def connect(self) -> None:
        """Connect, unless there is a connection, and none to a former master."""
        if self._server != self._address.master:
            await self.disconnect()
        connect: Callable[[], Awaitable[None]] = super().connect
        await connect()

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        async with asyncio.timeout(self.socket_connect_timeout):
            transport, _ = await self._address.connect(lambda: protocol)
        self._server = self._address.master
        self._reader = reader
        self._writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        self._clock_read_s = float("-inf")  # the address may lead to another server now

    async def on_connect_check_health(self, check_health: bool = True) -> None:
        """Authenticate, select the database and set the name; only the name may be refused."""
        await super().on_connect_check_health(check_health=check_health)
        await self.send_command(*NAME_COMMAND, self._name, check_health=False)
        try:
            await self.read_response()
        except ResponseError as exc:
            if not isinstance(exc, NoPermissionError) and not is_unavailable(str(exc)):
                raise

    async def ask(self, *command: Any) -> Any:  # noqa: ANN401  (any RESP2 value)
        """Return the reply to one command.

        Raises:
            redis.exceptions.RedisError: the server refuses, or the connection broke.
        """
        await self.send_command(*command)
        return await self.read_response()

    async def ask_all(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Return the replies to commands that are sent at once.

        Raises:
            redis.exceptions.RedisError: the server refuses one, or the connection broke.
        """
        await self.send_packed_command(self.pack_commands(commands))
        answers, refusal = [], None
        for _ in commands:
            try:
                answers.append(await self.read_response())
            except ResponseError as exc:  # the answers after it are still to be read
                refusal = refusal or exc
        if refusal is not None:
            raise refusal
        return answers

    async def confirm(self) -> None:
        """Check that the server that has just answered is still the master.

        Raises:
            redis.exceptions.ConnectionError: it is not; what it has done will be lost.
        """
        finder, server = self._address.finder, self._server
        if finder is None or server is None or await finder.confirm(server):
            return
        await self.disconnect()
        raise LibraryConnectionError(f"{server} is not the master any more")

    async def redis_time_ms(self, deadline_s: float) -> int:
        """Return a moment of this node's monotonic clock, in seconds, as Redis' Unix time."""
        if monotonic() - self._clock_read_s > self._clock_life_s:
            await self.read_clock()
        return int(deadline_s * 1000 + self._clock_offset_ms)

    async def read_clock(self) -> None:
        """Compare the server's clock with this node's."""
        asked_s = monotonic()
        seconds, microseconds = await self.ask("TIME")
        self._clock_read_s = monotonic()
        redis_ms = int(seconds) * 1000 + int(microseconds) / 1000
        self._clock_offset_ms = redis_ms - (asked_s + self._clock_read_s) * 500

"""The node's commands to Redis: redis-py, its errors translated, its state logged and counted.

Every call is over within its time limit, so that a request that needs Redis is answered in time.
"""

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from importlib.resources import files
from typing import Any, TypeVar

import redis.asyncio
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError, NoScriptError, ReadOnlyError, ResponseError
from redis.exceptions import RedisError as LibraryError

from sse_node.errors import RedisError, RequestError, reason_of
from sse_node.logs.rate_limit import OncePerSecond
from sse_node.redis.address import RedisAddress
from sse_node.redis.lanes import make_lanes
from sse_node.wire.resp import NAME_COMMAND, is_unavailable

T = TypeVar("T")
Argument = str | bytes | int

_CONNECT_TIMEOUT_S = 1.0
_IDEMPOTENCY_ERROR = "IDEMPOTENCY"

logger = logging.getLogger(__name__)


class Script:
    """A Lua script made of files beside this module, with its digest."""

    def __init__(self, *names: str) -> None:
        folder = files("sse_node.redis") / "scripts"
        self.text = "\n".join((folder / f"{name}.lua").read_text("utf-8") for name in names)
        self.sha1 = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


class _Connection(AbstractConnection):
    """One of redis-py's connections, connected as the subscriber is.

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

    def repr_pieces(self) -> list[tuple[str, str | int]]:
        return [("address", str(self._address)), ("db", self.db)]

    def _host_error(self) -> str:
        return str(self._address)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        async with asyncio.timeout(self.socket_connect_timeout):
            transport, _ = await self._address.connect(lambda: protocol)
        self._reader = reader
        self._writer = asyncio.StreamWriter(transport, protocol, reader, loop)

    async def on_connect_check_health(self, check_health: bool = True) -> None:
        """Authenticate, select the database and set the name; only the name may be refused."""
        await super().on_connect_check_health(check_health=check_health)
        await self.send_command(*NAME_COMMAND, self._name, check_health=False)
        try:
            await self.read_response()
        except ResponseError as exc:
            if not isinstance(exc, NoPermissionError) and not is_unavailable(str(exc)):
                raise


class RedisCommands:
    """A pool of connections for commands; lives as long as the node.

    Args:
        address: the server, and who connects to it.
        name: what CLIENT LIST shows.
        timeout_s: the most that one call may take, waiting for a connection included.
        max_connections: the most that are open at once; further calls wait for one.
        on_read_only: called when a command met a replica where a master should be.

    Attributes:
        client: for commands that are awaited by `call`.
        reads: the lane that a request enters for its commands when it changes nothing.
        writes: the lane of the others.
    """

    def __init__(
        self,
        address: RedisAddress,
        *,
        name: str,
        timeout_s: float,
        max_connections: int,
        on_read_only: Callable[[], None] = lambda: None,
    ) -> None:
        self._address = address
        self._name = name
        self._timeout_s = timeout_s
        self._refusals = OncePerSecond()
        self._on_read_only = on_read_only
        self._pool = redis.asyncio.BlockingConnectionPool(
            connection_class=_Connection,
            address=address,
            max_connections=max_connections,
            timeout=timeout_s,
            name=name,
            protocol=2,
            socket_connect_timeout=_CONNECT_TIMEOUT_S,
            socket_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
        )
        self.client = redis.asyncio.Redis(connection_pool=self._pool)
        # Half of the time, so that an answer that has waited still comes in time.
        self.reads, self.writes = make_lanes(max_connections, timeout_s / 2)
        self.up = False
        self.failures = 0
        self.reconnects = 0

    @property
    def timeout_ms(self) -> int:
        """The most that one call may take, in milliseconds."""
        return int(self._timeout_s * 1000)

    async def run(
        self, script: Script, keys: Sequence[str | bytes], arguments: Sequence[Argument]
    ) -> Any:  # noqa: ANN401  (any RESP2 value)
        """Run a script by EVALSHA, by EVAL when Redis does not have it.

        Raises:
            RedisError: Redis is away or refuses.
            RequestError: 422, an idempotency key came with another content.
        """
        return await self.call(self._run(script, [*keys, *arguments], len(keys)))

    async def _run(self, script: Script, arguments: list[Any], key_count: int) -> Any:  # noqa: ANN401
        try:
            return await self.client.evalsha(script.sha1, key_count, *arguments)
        except NoScriptError:
            return await self.client.eval(script.text, key_count, *arguments)

    async def execute(self, *command: Argument) -> Any:  # noqa: ANN401  (any RESP2 value)
        """Run one command; its reply in redis-py's form.

        Raises:
            RedisError: Redis is away or refuses.
        """
        send: Callable[..., Awaitable[Any]] = self.client.execute_command
        return await self.call(send(*command))

    async def call(self, command: Awaitable[T]) -> T:
        """Await a command of `client`, with its time limit and its errors translated.

        Raises:
            RedisError: Redis is away or refuses.
        """
        try:
            answer = await self._in_time(asyncio.ensure_future(command))
        except ResponseError as exc:
            if str(exc).startswith(_IDEMPOTENCY_ERROR):
                raise RequestError(
                    422, "Idempotency-Key: it was used with another content; expected a new key"
                ) from exc
            self._on_refusal(exc)
            if isinstance(exc, ReadOnlyError):  # its address may lead to the new master by now
                await self._pool.disconnect(inuse_connections=False)
                self._on_read_only()
            raise RedisError(f"Redis refused: {exc}") from exc
        except (LibraryError, OSError, TimeoutError) as exc:
            self._on_failure(exc)
            raise RedisError(f"Redis is away: {self._address}: {reason_of(exc)}") from exc
        if not self.up:
            self._on_success()
        return answer

    async def _in_time(self, task: "asyncio.Future[T]") -> T:
        """Return a command's answer, or leave the command to itself when its time is over.

        Python 3.11's `wait_for`, inside redis-py, swallows a cancel that comes with an answer: a
        timeout around it could last twice as long, and a task in a loop could never be ended.
        """
        try:
            await asyncio.wait({task}, timeout=self._timeout_s)
        finally:
            if not task.done():
                task.cancel()
                task.add_done_callback(_look_away)
        if not task.done():
            raise TimeoutError(f"no answer within {self._timeout_s:g} s")
        return task.result()

    def _on_failure(self, exc: BaseException) -> None:
        self.failures += 1
        if self.up or self.failures == 1:
            logger.warning("%s: Redis is away: %s: %s", self._name, self._address, reason_of(exc))
        self.up = False

    def _on_refusal(self, exc: ResponseError) -> None:
        self.failures += 1
        if self._refusals.allows(str(exc).partition(" ")[0]):
            logger.warning("%s: Redis refused: %s", self._name, exc)

    def _on_success(self) -> None:
        self.up = True
        self.reconnects += self.failures > 0
        logger.info("%s: up", self._name)

    async def shutdown(self) -> None:
        """Close all connections; one that does not end in order is gone all the same."""
        with contextlib.suppress(LibraryError):
            await self.client.aclose()
        with contextlib.suppress(LibraryError):
            await self._pool.disconnect()


def _look_away(task: "asyncio.Future[Any]") -> None:
    """Take the error of a command that nobody waits for any more."""
    if not task.cancelled():
        task.exception()

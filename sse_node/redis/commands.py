"""The node's commands to Redis: redis-py, its errors translated, its state logged and counted.

Every call is over within its time limit, so that a request that needs Redis is answered in time.
"""

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from importlib.resources import files
from time import monotonic
from typing import Any, Final, TypeVar

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, ReadOnlyError, ResponseError
from redis.exceptions import RedisError as LibraryError

from sse_node.errors import RedisError, RequestError, reason_of
from sse_node.logs.rate_limit import OncePerSecond
from sse_node.redis.address import RedisAddress
from sse_node.redis.command_connection import CommandConnection
from sse_node.redis.lanes import make_lanes
from sse_node.redis.masters import MasterFinder


class NotAfter(Enum):
    """Stands for the moment, by Redis' clock, after which a script must not run any more."""

    DEADLINE = "deadline"


T = TypeVar("T")
Argument = str | bytes | int
ScriptArgument = Argument | NotAfter

_CONNECT_TIMEOUT_S: Final = 1.0
_IDEMPOTENCY_ERROR: Final = "IDEMPOTENCY"
_LATE_ERROR: Final = "LATE"
# A timer that comes this late shows that this process was stopped or busy, and Redis may well have
# answered in time: the answer is waited for once more. Both are arbitrary.
_STALL_S: Final = 0.5
_STALL_GRACE_S: Final = 1.0

logger = logging.getLogger(__name__)


class Script:
    """A Lua script made of files beside this module, with its digest."""

    def __init__(self, *names: str) -> None:
        folder = files("sse_node.redis") / "scripts"
        self.text = "\n".join((folder / f"{name}.lua").read_text("utf-8") for name in names)
        self.sha1 = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


class RedisCommands:
    """A pool of connections for commands; lives as long as the node.

    Args:
        address: the server, and who connects to it.
        name: what CLIENT LIST shows.
        timeout_s: the most that one call may take, waiting for a connection included.
        max_connections: the most that are open at once; further calls wait for one.
        on_read_only: called when a command met a replica where a master should be.

    Attributes:
        address: as given.
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
        self.address = address
        self._finder: MasterFinder | None = address.finder
        self._name = name
        self._timeout_s = timeout_s
        self._refusals = OncePerSecond()
        self._on_read_only = on_read_only
        self._pool = redis.asyncio.BlockingConnectionPool(
            connection_class=CommandConnection,
            address=address,
            max_connections=max_connections,
            timeout=None,  # every call has a time limit of its own
            name=name,
            protocol=2,
            socket_connect_timeout=_CONNECT_TIMEOUT_S,
            socket_timeout=None,
            retry=Retry(NoBackoff(), 0),
        )
        self.client = redis.asyncio.Redis(connection_pool=self._pool)
        # Half of the time, so that an answer that has waited still comes in time.
        self.reads, self.writes = make_lanes(max_connections, timeout_s / 2)
        self.up = False
        self.failures = 0
        self.reconnects = 0
        self._before_new_master: list[Callable[[], Awaitable[None]]] = []
        self._served_failovers = 0

    @property
    def server(self) -> str:
        """Where commands go at the moment, for people."""
        return str(self.address)

    @property
    def failovers(self) -> int:
        """How often another master was named; 0 where it is always the same."""
        return self._finder.failovers if self._finder is not None else 0

    def before_new_master(self, call: Callable[[], Awaitable[None]]) -> None:
        """Await a call before a script runs on another master than before; it must not raise."""
        self._before_new_master.append(call)

    async def run(
        self, script: Script, keys: Sequence[str | bytes], arguments: Sequence[ScriptArgument]
    ) -> Any:  # noqa: ANN401  (any RESP2 value)
        """Run a script by EVALSHA, by EVAL when Redis does not have it.

        Args:
            script: the script.
            keys: every key that it touches.
            arguments: `NotAfter.DEADLINE` among them is replaced by the end of this call's time.

        Raises:
            RedisError: Redis is away or refuses.
            RequestError: 422, an idempotency key came with another content.
        """
        deadline_s = monotonic() + self._timeout_s
        return await self.call(self._run(script, keys, arguments, deadline_s))

    async def _run(
        self,
        script: Script,
        keys: Sequence[str | bytes],
        arguments: Sequence[ScriptArgument],
        deadline_s: float,
    ) -> Any:  # noqa: ANN401  (any RESP2 value)
        connection = await self._get_connection()
        try:
            try:
                return await _run_on(connection, script, keys, arguments, deadline_s)
            except ResponseError as exc:
                if not str(exc).startswith(_LATE_ERROR) or monotonic() > deadline_s:
                    raise
            await connection.read_clock()  # Redis' clock has been set
            return await _run_on(connection, script, keys, arguments, deadline_s)
        finally:
            await self._pool.release(connection)

    async def _get_connection(self) -> CommandConnection:
        """Return a connection to the present master, whose former ones have been left."""
        get: Callable[[], Awaitable[CommandConnection]] = self._pool.get_connection
        if self._finder is None:
            return await get()
        await self._finder.refresh()
        while True:
            connection = await get()
            failovers = self._finder.failovers
            if failovers == self._served_failovers:
                return connection
            try:
                await asyncio.gather(*(before() for before in self._before_new_master))
            finally:
                await self._pool.release(connection)
            self._served_failovers = failovers

    async def execute(self, *command: Argument) -> Any:  # noqa: ANN401  (any RESP2 value)
        """Run one command; its reply in redis-py's form.

        Raises:
            RedisError: Redis is away or refuses.
        """
        send: Callable[..., Awaitable[Any]] = self.client.execute_command
        return await self.call(send(*command))

    async def execute_all(self, *commands: Sequence[Argument]) -> list[Any]:
        """Run commands that are sent at once; their replies as Redis gives them.

        Each of them takes Redis a fraction of the time that it takes in a script, but commands of
        others may come in between.

        Raises:
            RedisError: Redis is away, or refuses one of them; the others are carried out.
        """
        return await self.call(self._execute_all(commands))

    async def _execute_all(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        connection = await self._get_connection()
        try:
            answers = await connection.ask_all(commands)
            await connection.confirm()
            return answers
        finally:
            await self._pool.release(connection)

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
            raise RedisError(f"Redis is away: {self.address}: {reason_of(exc)}") from exc
        if not self.up:
            self._on_success()
        return answer

    async def _in_time(self, task: "asyncio.Future[T]") -> T:
        """Return a command's answer, or leave the command to itself when its time is over.

        Python 3.11's `wait_for`, inside redis-py, swallows a cancel that comes with an answer: a
        timeout around it could last twice as long, and a task in a loop could never be ended.
        """
        loop = asyncio.get_running_loop()
        try:
            time_left_s = self._timeout_s
            while time_left_s and not task.done():
                due_s = loop.time() + time_left_s
                await asyncio.wait({task}, timeout=time_left_s)
                time_left_s = _STALL_GRACE_S if loop.time() - due_s > _STALL_S else 0.0
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
            logger.warning("%s: Redis is away: %s: %s", self._name, self.address, reason_of(exc))
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


async def _run_on(
    connection: CommandConnection,
    script: Script,
    keys: Sequence[str | bytes],
    arguments: Sequence[ScriptArgument],
    deadline_s: float,
) -> Any:  # noqa: ANN401  (any RESP2 value)
    values = await values_on(connection, keys, arguments, deadline_s)
    try:
        answer = await connection.ask("EVALSHA", script.sha1, *values)
    except NoScriptError:
        answer = await connection.ask("EVAL", script.text, *values)
    await connection.confirm()
    return answer


async def values_on(
    connection: CommandConnection,
    keys: Sequence[str | bytes],
    arguments: Sequence[ScriptArgument],
    deadline_s: float,
) -> list[Argument]:
    """Return what follows a script in EVAL, with the deadline by the clock of the server."""
    values: list[Argument] = [len(keys), *keys]
    for argument in arguments:
        if isinstance(argument, NotAfter):
            values.append(await connection.redis_time_ms(deadline_s))
        else:
            values.append(argument)
    return values


def _look_away(task: "asyncio.Future[Any]") -> None:
    """Take the error of a command that nobody waits for any more."""
    if not task.cancelled():
        task.exception()

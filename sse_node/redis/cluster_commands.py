"""Commands to whichever server of a cluster has one slot.

A server that does not have it, or has given its keys away, says so without doing anything: such a
command is sent again, to the server that it names. Nothing else is: redis-py's cluster client sends
a command again after a broken connection too, and so may carry it out twice.

While the server does not answer, one call at a time tries it, and others fail at once: they would
keep the connections and lanes that requests for other shards need.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

from redis.exceptions import AskError, MovedError, TryAgainError

from sse_node.errors import RedisError
from sse_node.redis.command_connection import CommandConnection
from sse_node.redis.commands import (
    Argument,
    RedisCommands,
    Script,
    ScriptArgument,
    values_on,
)
from sse_node.redis.tcp import Server

T = TypeVar("T")
# Between two attempts while a slot is on its way; the call's time limit ends them.
_AGAIN_S: Final = 0.01


class ClusterCommands(RedisCommands):
    """A pool of connections to the server of a slot; lives as long as the node.

    Its address is that of a place in a cluster, its arguments are those of RedisCommands.
    """

    _is_tried = False

    async def call(self, command: Awaitable[T]) -> T:
        """Await a command, unless the server is away and another call is trying it.

        Raises:
            RedisError: Redis is away or refuses.
        """
        if self.up or not self.failures:
            return await super().call(command)
        if self._is_tried:
            if inspect.iscoroutine(command):
                command.close()
            raise RedisError(f"Redis is away: {self.address}")
        self._is_tried = True
        try:
            return await super().call(command)
        except RedisError:
            if self._finder is not None:
                self._finder.ask_soon()
            raise
        finally:
            self._is_tried = False

    async def _run(
        self,
        script: Script,
        keys: Sequence[str | bytes],
        arguments: Sequence[ScriptArgument],
        deadline_s: float,
    ) -> Any:  # noqa: ANN401  (any RESP2 value)
        run = super()._run

        async def ask_on(connection: CommandConnection) -> Any:  # noqa: ANN401
            values = await values_on(connection, keys, arguments, deadline_s)
            await connection.ask("ASKING")
            return await connection.ask("EVAL", script.text, *values)

        return await self._follow(lambda: run(script, keys, arguments, deadline_s), ask_on)

    async def execute(self, *command: Argument) -> Any:  # noqa: ANN401  (any RESP2 value)
        """Run one command; its reply in redis-py's form.

        Raises:
            RedisError: Redis is away or refuses.
        """
        send: Callable[..., Awaitable[Any]] = self.client.execute_command
        parse: Callable[..., Awaitable[Any]] = self.client.parse_response

        async def ask_on(connection: CommandConnection) -> Any:  # noqa: ANN401
            await connection.ask("ASKING")
            await connection.send_command(*command)
            return await parse(connection, str(command[0]))

        return await self.call(self._follow(lambda: send(*command), ask_on))

    async def _follow(
        self,
        attempt: Callable[[], Awaitable[Any]],
        ask_on: Callable[[CommandConnection], Awaitable[Any]],
    ) -> Any:  # noqa: ANN401  (any RESP2 value)
        """Return the answer of the server that has the slot, wherever that is or goes."""
        finder = self._finder
        assert finder is not None
        while True:
            try:
                return await attempt()
            except MovedError:
                await finder.ask()
            except AskError as exc:  # its keys are on their way to another server
                try:
                    return await self._on_server(Server(exc.host, exc.port), ask_on)
                except (AskError, TryAgainError):
                    finder.ask_soon()
            except TryAgainError:  # some of its keys are
                finder.ask_soon()
            await asyncio.sleep(_AGAIN_S)

    async def _on_server(
        self, server: Server, ask_on: Callable[[CommandConnection], Awaitable[Any]]
    ) -> Any:  # noqa: ANN401  (any RESP2 value)
        options = self._pool.connection_kwargs | {"address": self.address.of_server(server)}
        connection = CommandConnection(**options)
        try:
            await connection.connect()
            return await ask_on(connection)
        finally:
            await connection.disconnect()

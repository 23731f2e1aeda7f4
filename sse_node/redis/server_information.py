"""What a Redis server answers about itself; commands that an ACL refuses are skipped."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from redis.exceptions import ResponseError

from sse_node.errors import RedisError
from sse_node.redis.commands import RedisCommands


class ServerInformation:
    """Asks the server that commands go to; lives as long as its owner.

    Args:
        commands: to the server.
    """

    def __init__(self, commands: RedisCommands) -> None:
        self._commands = commands

    async def section(self, name: str) -> Mapping[str, Any] | None:
        """Return a section of INFO; None when it is refused, empty when Redis is away."""
        found = await self.answer_to(lambda: self._commands.client.info(name))
        return None if isinstance(found, ResponseError) else found or {}

    async def setting(self, name: str) -> str | None:
        """Return a setting; None when that is refused or Redis is away."""
        found = await self.answer_to(lambda: self._commands.client.config_get(name))
        return str(found[name]) if isinstance(found, dict) and name in found else None

    async def answer_to(self, send: Callable[[], Awaitable[Any]]) -> Any:  # noqa: ANN401
        """Return the answer to a command, which may be an error; None when Redis is away."""

        async def answer() -> Any:  # noqa: ANN401
            try:
                return await send()
            except ResponseError as exc:  # here, so that it does not count as a failure
                return exc

        try:
            return await self._commands.call(answer())
        except RedisError:
            return None

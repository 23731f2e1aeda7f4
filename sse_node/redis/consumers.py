"""The consumers of a group of a stream: removed with their process, or when they are long gone."""

import asyncio
import logging
import re
from typing import Final

from sse_node.errors import RedisError
from sse_node.redis.commands import RedisCommands, Script

_REMOVE: Final = Script("remove_consumers")
# Of an ACL (Redis 6.2, and 7 or Valkey), and of a server without the command.
_REFUSAL: Final = re.compile(r"can't run this command|has no permissions|unknown .*command", re.I)

logger = logging.getLogger(__name__)


class Consumers:
    """Removes consumers that nobody uses; lives as long as what reads by them.

    A process that is killed leaves its consumer in the group. One with a pending entry is never
    removed: the entry is claimed by another consumer first.

    Args:
        commands: the node's connections to Redis.
        stream: the key of the stream.
        group: its consumer group.
        idle_s: consumers that have not read for this long are removed; looked for as often. A
            living one that is removed comes back with its next read.
    """

    def __init__(self, commands: RedisCommands, stream: str, group: str, idle_s: float) -> None:
        self._commands = commands
        self._stream = stream
        self._group = group
        self._idle_s = idle_s
        self._next_look_s = 0.0
        self._is_refused = False

    async def remove_idle(self) -> None:
        """Remove those that have been idle for long, unless that was just done."""
        now_s = asyncio.get_running_loop().time()
        if now_s >= self._next_look_s:
            self._next_look_s = now_s + self._idle_s
            await self.remove("")

    async def remove(self, name: str) -> None:
        """Remove this consumer as well, if it has no pending entry; failures are logged."""
        if self._is_refused or not self._commands.up:
            return
        arguments = (self._group, int(self._idle_s * 1000), name)
        try:
            answer = await self._commands.run(_REMOVE, [self._stream], arguments)
        except RedisError:
            return  # the commands have logged it
        if isinstance(answer, int):
            if answer:
                logger.debug("removed %d consumers of %s", answer, self._stream)
            return
        error = answer.decode()
        self._is_refused = _REFUSAL.search(error) is not None
        if self._is_refused:
            logger.warning("consumers of ended nodes stay in %s: %s", self._stream, error)

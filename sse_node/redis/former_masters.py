"""Ends the writes of former masters before the present one gets any.

In a failover by command the former master lives on, and takes events for some ten seconds. The
first process that leaves it ends that, before it writes to the new master or receives from it.
Whatever the former master has acknowledged is known then by the id of its last entry.
"""

import asyncio
import logging
from typing import Final

from sse_node.errors import RedisError, reason_of
from sse_node.redis.commands import RedisCommands, Script
from sse_node.redis.questions import Questions
from sse_node.redis.tcp import Server
from sse_node.wire.event_id import parse_position

_SUPERSEDE: Final = Script("log", "supersede")
# Longer than the sentinels need to make a former master a replica, some ten seconds.
_SUPERSEDED_MS: Final = 15_000
_TIMEOUT_S: Final = 0.4  # of a server that lives; one that does not delays the first write

logger = logging.getLogger(__name__)


class FormerMasters:
    """The former masters of one log; lives as long as the process.

    Args:
        commands: to the present one.
        log: the key.

    Attributes:
        ends: the positions of their last entries, as far as they answered.
    """

    def __init__(self, commands: RedisCommands, log: str) -> None:
        self._address = commands.address
        self._log = log
        self._asked = 0
        self._asking = asyncio.Lock()
        self.ends: set[int] = set()

    async def supersede(self) -> None:
        """End the writes of all servers that have ceased to be the master, and learn their ends."""
        finder = self._address.finder
        if finder is None or finder.failovers == self._asked:
            return
        async with self._asking:
            failovers = finder.failovers
            if failovers == self._asked:
                return
            servers = {*tuple(finder.former)[self._asked - failovers :]} - {finder.master}
            answers = await asyncio.gather(*(self._supersede(each) for each in servers))
            self._asked = failovers
            self.ends.update(filter(None, answers))

    async def _supersede(self, server: Server) -> int:
        """Return the position of the last entry on a server; 0 if it does not answer."""
        address = self._address.of_server(server)
        commands = address.authentication()
        if address.database:
            commands.append((b"SELECT", b"%d" % address.database))
        script = (_SUPERSEDE.text.encode(), b"1", self._log.encode())
        commands.append((b"EVAL", *script, b"%d" % _SUPERSEDED_MS))
        questions = Questions(commands)
        transport: asyncio.Transport | None = None
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                transport, _ = await address.connect(lambda: questions)
                replies = await questions.replies
            last_id = replies[-1]
            if not isinstance(last_id, bytes):
                raise RedisError(f"answered {last_id!r}")
            return parse_position(last_id.decode()) or 0
        except (OSError, UnicodeError, RedisError) as exc:
            logger.info("the former master %s: %s", server, reason_of(exc))
            return 0
        finally:
            if transport is not None:
                transport.abort()

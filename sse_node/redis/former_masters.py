"""What former masters have taken that the present one does not have.

In a failover by command the former master lives on, and takes events for some ten seconds. The
first node that leaves it ends that, before it receives anything from the new master: so whatever
the former master has acknowledged is known by the id of its last entry. Of a master that does not
answer it is known what this node has received from it, and what it has acknowledged to this node.
"""

import asyncio
import logging
from typing import Final

from sse_node.delivery.history import History
from sse_node.errors import RedisError, reason_of
from sse_node.redis.commands import Script
from sse_node.redis.event_log import EventLog
from sse_node.redis.questions import Questions
from sse_node.redis.tcp import Server
from sse_node.wire.event_id import parse_position

_SUPERSEDE: Final = Script("log", "supersede")
# Longer than the sentinels need to make a former master a replica, some ten seconds.
_SUPERSEDED_MS: Final = 15_000
_TIMEOUT_S: Final = 0.4  # of a server that lives; one that does not delays the catch-up

logger = logging.getLogger(__name__)


class FormerMasters:
    """The former masters of one log; lives as long as the node.

    Args:
        log: whose masters change.
        history: what this node has received.
    """

    def __init__(self, log: EventLog, history: History) -> None:
        self._log = log
        self._history = history
        self._address = log.commands.address
        self._asked = 0
        self._reached = 0

    async def supersede(self) -> None:
        """End the writes of all servers that have ceased to be the master, and learn their ends."""
        finder = self._address.finder
        if finder is None or finder.failovers == self._asked:
            return
        failovers = finder.failovers
        servers = {*tuple(finder.former)[self._asked - failovers :]} - {finder.master}
        answers = await asyncio.gather(*(self._supersede(each) for each in servers))
        self._asked = failovers
        self._reached = max(self._reached, *answers, 0)

    async def _supersede(self, server: Server) -> int:
        """Return the position of the last entry on a server; 0 if it does not answer."""
        address = self._address.of_server(server)
        commands = address.authentication()
        if address.database:
            commands.append((b"SELECT", b"%d" % address.database))
        script = (_SUPERSEDE.text.encode(), b"1", self._log.keys.log.encode())
        commands.append((b"EVAL", *script, b"%d" % _SUPERSEDED_MS))
        questions = Questions(commands)
        transport: asyncio.Transport | None = None
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                transport, _ = await address.connect(lambda: questions)
                replies = await questions.replies
            return parse_position(replies[-1].decode()) or 0
        except (OSError, UnicodeError, RedisError, AttributeError) as exc:
            logger.info("the former master %s: %s", server, reason_of(exc))
            return 0
        finally:
            if transport is not None:
                transport.abort()

    async def lost(self) -> int:
        """Return the highest position known that the log has lost; 0 for none.

        Raises:
            RedisError: the log cannot be read.
        """
        known = {parse_position(each) or 0 for each in self._log.acknowledged}
        suspects = [each for each in known if not self._history.contains(each)]
        suspects += [self._history.position, self._reached]
        first, held = await self._log.find(suspects)
        return max((each for each in suspects if each >= first and each not in held), default=0)

    def forget(self) -> None:
        """What is lost has been told."""
        self._reached = 0
        self._log.acknowledged.clear()

"""One question to several servers at once, shared by all that ask at this time."""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from time import monotonic
from typing import Any, Final, Generic, TypeVar

from sse_node.errors import RedisError, reason_of
from sse_node.redis.questions import Questions
from sse_node.redis.tcp import Dialer, Server

# With the time for ROLE it is less than what a connection may take.
_TIMEOUT_S: Final = 0.4
# After a majority has answered: the first one that knows of a failover may be another one. A server
# beside other load takes more than a twentieth of a second.
_LATECOMERS_S: Final = 0.2

Answer = TypeVar("Answer")

logger = logging.getLogger(__name__)


class Inquiry(Generic[Answer]):
    """Asks all servers, each over a connection of its own; lives as long as the process.

    Args:
        dialer: opens the connections.
        commands: that make up the question, after those that authenticate.
        places: returns the servers to ask.
        read: makes an answer of all replies of one server; raises RedisError.
        learn: called with the answers, at least one.
        nobody: what no server does, for people: `no sentinel names the master`.

    Attributes:
        asked_s: when the last one began, on the monotonic clock.
    """

    def __init__(
        self,
        dialer: Dialer,
        commands: Sequence[tuple[bytes, ...]],
        *,
        places: Callable[[], Collection[Server]],
        read: Callable[[list[Any], Server], Answer],
        learn: Callable[[list[Answer]], None],
        nobody: str,
    ) -> None:
        self._dialer = dialer
        self._commands = commands
        self._places = places
        self._read = read
        self._learn = learn
        self._nobody = nobody
        self._asking: asyncio.Task[str] | None = None
        self._is_silent = False
        self.asked_s = float("-inf")

    async def ask(self) -> str:
        """Ask, together with all that ask at this time; return why there is no answer."""
        return await asyncio.shield(self._begin())

    def ask_soon(self) -> None:
        """Ask from now on, while nobody waits for the answer."""
        if self._asking is not None and not self._asking.done():  # it may have been answered
            self._asking.add_done_callback(lambda _: self._begin())
        else:
            self._begin()

    def _begin(self) -> "asyncio.Task[str]":
        if self._asking is None or self._asking.done():
            self.asked_s = monotonic()
            self._asking = asyncio.get_running_loop().create_task(self._ask())
        return self._asking

    async def _ask(self) -> str:
        asking = {asyncio.ensure_future(self._ask_one(each)) for each in self._places()}
        pending, answers, failures, patience_s = asking, list[Answer](), list[str](), None
        try:
            while pending:
                done, pending = await asyncio.wait(
                    pending, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    break
                for each in done:
                    try:
                        answers.append(each.result())
                    except RedisError as exc:
                        failures.append(str(exc))
                patience_s = _LATECOMERS_S if len(answers) > len(asking) // 2 else None
        finally:
            for each in pending:
                each.cancel()
        if not answers:
            return self._on_silence("; ".join(sorted(failures)))
        self._is_silent = False
        self._learn(answers)
        return ""

    async def _ask_one(self, place: Server) -> Answer:
        """Return what one server answers. Raises RedisError, which names it."""
        questions = Questions(self._commands)
        transport: asyncio.Transport | None = None
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                transport, _ = await self._dialer.connect(place, lambda: questions)
                replies = await questions.replies
            return self._read(replies, place)
        except TimeoutError:
            raise RedisError(f"{place}: no answer within {_TIMEOUT_S:g} s") from None
        except (OSError, UnicodeError, RedisError) as exc:
            raise RedisError(f"{place}: {reason_of(exc)}") from exc
        finally:
            if transport is not None:
                transport.abort()

    def _on_silence(self, detail: str) -> str:
        why_not = f"{self._nobody}: {detail}"
        if not self._is_silent:  # once per outage
            logger.warning("Redis: %s", why_not)
        self._is_silent = True
        return why_not

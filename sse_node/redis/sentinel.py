"""The master of a service, as its sentinels name it, and the proof that a server still is it.

Sentinels are asked for each new connection, and the server has to say itself that it is a master.
That does not expose a master that was stopped and continues: it believes what it always believed,
until the sentinels turn it into a replica some ten seconds later. So they are asked again before a
script runs and before its answer counts, if the master was silent; and every few seconds while
scripts run.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from sse_node.errors import RedisError
from sse_node.redis.inquiry import Inquiry
from sse_node.redis.masters import MasterFinder
from sse_node.redis.questions import Questions
from sse_node.redis.tcp import Dialer, P, Server
from sse_node.wire.resp import authentication

_ROLE_TIMEOUT_S: Final = 0.5  # with the time for sentinels, less than what a connection may take
# Arbitrary. It matters where a message of the sentinels was missed and nothing breaks.
_ASK_AGAIN_S: Final = 1.0

logger = logging.getLogger(__name__)


class _Answer(NamedTuple):
    """What one sentinel says; of two answers the one with the higher epoch is newer."""

    epoch: int
    server: Server


@dataclass(frozen=True, slots=True)
class SentinelPlaces:
    """Where the sentinels are, and who asks them.

    Attributes:
        places: of each, at least one.
        username: empty for the default user.
        password: empty for no password.
    """

    places: tuple[Server, ...]
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)


class Sentinels(MasterFinder):
    """The sentinels of one service; shared by all connections of a process, lives as long as it.

    Args:
        service: the name of the master.
        located: where they listen.
        dialer: opens connections to them and to the master.
    """

    def __init__(self, service: str, located: SentinelPlaces, dialer: Dialer) -> None:
        self._service = service
        self.located = located
        self._dialer = dialer
        inquiry = Inquiry(
            dialer,
            # The address of the second one is the new master's as soon as it has been promoted.
            [
                *authentication(located.username, located.password),
                (b"SENTINEL", b"MASTER", service.encode()),
                (b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", service.encode()),
            ],
            places=lambda: located.places,
            read=lambda replies, _: _read_answer(*replies[-2:]),
            learn=self._learn,
            nobody=f"no sentinel names the master of {service}",
        )
        super().__init__(inquiry, _ASK_AGAIN_S)
        self._epoch = -1
        self._master: Server | None = None

    def __str__(self) -> str:
        """Return the service and its sentinels for people."""
        return f"{self._service} (sentinels {', '.join(map(str, self.located.places))})"

    @property
    def master(self) -> Server | None:
        """As last named; None before the first answer."""
        return self._master

    async def connect(
        self, first: Sequence[tuple[bytes, ...]], make_protocol: Callable[[], P]
    ) -> tuple[asyncio.Transport, P]:
        """Ask for the master, connect to it, and check that it is one.

        Args:
            first: commands that come first on a connection to the master, to authenticate.
            make_protocol: called when the server is the present master.

        Raises:
            OSError: there is no connection.
            RedisError: no sentinel names a master, or the server is not one.
        """
        why_not = await self.ask()
        server = self.master
        if why_not or server is None:
            raise RedisError(why_not)
        questions = Questions([*first, (b"ROLE",)])
        transport, _ = await self._dialer.connect(server, lambda: questions)
        try:
            role = await _ask_role(questions, server)
            if role != b"master":
                raise RedisError(f"{server} is no master yet, or not any more: {role!r}")
            if server != self.master:
                raise RedisError(f"{server} is not the master any more")
            self._prove()
            protocol = make_protocol()
            transport.set_protocol(protocol)
            protocol.connection_made(transport)
        except BaseException:
            transport.abort()
            raise
        return transport, protocol

    def _learn(self, answers: Sequence[_Answer]) -> None:
        self._prove()
        epoch, server = max(answers)
        # Sentinels that have not heard of the last failover yet; if all, they were set up anew.
        if epoch < self._epoch and len(answers) < len(self.located.places):
            return
        self._epoch = epoch
        before, self._master = self._master, server
        if before is not None and before != server:
            logger.warning("Redis: %s has a new master: %s, not %s", self._service, server, before)
            self._on_new_master(before)


async def _ask_role(questions: Questions, server: Server) -> bytes:
    """Return what a server says it is. Raises RedisError, which names it."""
    try:
        async with asyncio.timeout(_ROLE_TIMEOUT_S):
            replies = await questions.replies
        return bytes(replies[-1][0])
    except TimeoutError:
        reason = f"no answer within {_ROLE_TIMEOUT_S:g} s"
    except RedisError as exc:
        reason = str(exc)
    except (LookupError, TypeError):
        reason = "answered what no server does"
    raise RedisError(f"{server} (the master): {reason}")


def _read_answer(fields: Any, address: Any) -> _Answer:  # noqa: ANN401  (any RESP2 value)
    """Return the answer in names and values in turn, and host and port. Raises RedisError."""
    try:
        epoch = dict(zip(fields[::2], fields[1::2], strict=True))[b"config-epoch"]
        host, port = address
        return _Answer(int(epoch), Server(host.decode(), int(port)))
    except (LookupError, TypeError, ValueError):
        pass
    raise RedisError("answered what no sentinel does")

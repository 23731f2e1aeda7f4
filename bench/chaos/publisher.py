"""The publisher: a steady rate of events through `POST /events`, each retried until it is taken.

The events of a user are sent one after the other, so their numbers rise in the order of the log.
A retry carries the same Idempotency-Key: whether the first attempt had its effect is unknown.
"""

import asyncio
import contextlib
import random
import secrets
from collections.abc import Sequence
from time import monotonic

import msgspec

from bench.chaos.checker import Ledger, position_of

CLIENT_HOST = "127.0.0.2"
"""Where the load connects from. Not where the servers listen: while a server is away, a connection
from its own address could be given its port and be connected to itself."""

_ANSWER_TIMEOUT_S = 5.0  # above what a node takes to find out that Redis does not answer
_RETRY_S = 0.2  # arbitrary; jittered by a half
_LAST_ANSWERS_TIMEOUT_S = 30.0  # arbitrary: for the last events to be taken


class Answer(msgspec.Struct):
    """What `POST /events` answers with 202."""

    ids: list[str]


class HttpClient:
    """One kept-alive connection, made anew when it is gone."""

    def __init__(self, port: int) -> None:
        """Take the port on loopback."""
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, target: str, content: bytes, key: str) -> tuple[int, bytes]:
        """The status and content that a POST of JSON is answered with. Raises OSError."""
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                return await self._post(target, content, key)
        except BaseException as exc:
            self.close()
            if isinstance(exc, (asyncio.IncompleteReadError, asyncio.LimitOverrunError)):
                raise ConnectionError(f"the answer broke off: {exc}") from exc
            raise

    async def _post(self, target: str, content: bytes, key: str) -> tuple[int, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(
                "127.0.0.1", self._port, local_addr=(CLIENT_HOST, 0)
            )
        reader, writer = self._streams
        writer.write(
            f"POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Idempotency-Key: {key}\r\nContent-Length: {len(content)}\r\n\r\n".encode()
            + content
        )
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
        answer = await reader.readexactly(int(headers["content-length"]))
        if headers.get("connection") == "close":
            self.close()
        return int(head.split()[1]), answer

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


class _User:
    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self.http = HttpClient(port)
        self.turn = asyncio.Lock()


class Publisher:
    """Publishes for all users; lives as long as the run, on one event loop."""

    def __init__(self, port: int, ledger: Ledger, users: Sequence[str], rate: float) -> None:
        """Take the port to post to and the events a second of all users together."""
        self.problems: list[str] = []
        self.attempts = 0
        self._ledger = ledger
        self._users = {name: _User(name, port) for name in users}
        self._interval_s = len(users) / rate
        self._run = secrets.token_hex(8)  # keys of another run on the same Redis are others
        self._ending = asyncio.Event()

    async def run(self) -> None:
        """Publish until `end` is called, then one last event for each user."""
        async with asyncio.TaskGroup() as users:
            for user in self._users.values():
                users.create_task(self._run_user(user))

    def end(self) -> None:
        """Let `run` come to its end."""
        self._ending.set()

    async def _run_user(self, user: _User) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + random.uniform(0, self._interval_s)
        while not self._ending.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), max(0.0, due - loop.time()))
                break
            due = max(due + self._interval_s, loop.time())  # an outage is not made up for
            await self.publish(user.name)
        await self.publish(user.name)
        user.http.close()

    async def publish(self, name: str, pad_bytes: int = 0) -> int:
        """Publish one event, however often it takes; return its number."""
        user = self._users[name]
        async with user.turn:
            number = self._ledger.send(name, monotonic())
            data = {"user": name, "number": number}
            if pad_bytes:
                data["pad"] = "x" * pad_bytes
            event = {"userId": name, "eventType": "chaos", "data": data}
            content = msgspec.json.encode(event)
            event_id = await self._retried(user, content, f"{self._run}-{name}-{number}")
            if event_id:
                self._ledger.acknowledge(name, number, position_of(event_id), monotonic())
            return number

    async def _retried(self, user: _User, content: bytes, key: str) -> str:
        """The id that an event was acknowledged with; empty when it was not in the end."""
        loop = asyncio.get_running_loop()
        give_up_at: float | None = None
        while give_up_at is None or loop.time() < give_up_at:
            self.attempts += 1
            try:
                status, answer = await user.http.post("/events", content, key)
            except OSError:  # TimeoutError is one
                status, answer = 0, b""
            if status == 202:
                return msgspec.json.decode(answer, type=Answer).ids[0]
            if 400 <= status < 500 and status != 429:
                self.problems.append(f"POST /events was answered {status}: {answer[:200]!r}")
                return ""
            await asyncio.sleep(_RETRY_S * random.uniform(0.5, 1.5))
            if give_up_at is None and self._ending.is_set():
                give_up_at = loop.time() + _LAST_ANSWERS_TIMEOUT_S
        self.problems.append(f"an event of {user.name} was never acknowledged")
        return ""

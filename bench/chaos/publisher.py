"""The publisher: a steady rate of events through `POST /events`, each retried until it is accepted.

The events of a user are sent one after the other, so their numbers rise in the order of the log.
A retry has the same Idempotency-Key, because the first attempt may have succeeded.
"""

import asyncio
import contextlib
import random
import secrets
from collections.abc import Sequence
from time import monotonic

import httpx
import msgspec

from bench.chaos.checker import Ledger, position_of

CLIENT_HOST = "127.0.0.2"
"""The source address of the load. It differs from the servers' address: while a server is away, a
connection from its own address could get its port and connect to itself."""

_ANSWER_TIMEOUT_S = 5.0  # longer than a node needs to notice that Redis does not answer
_RETRY_S = 0.2  # arbitrary; with a jitter of a half
_LAST_ANSWERS_TIMEOUT_S = 30.0  # arbitrary: for the last events to be accepted


class Answer(msgspec.Struct):
    """The content of a response with status 202."""

    ids: list[str]


class Publisher:
    """Publishes for all users; lives as long as the run, on one event loop."""

    def __init__(
        self, port: int, ledger: Ledger, users: Sequence[str], rate: float, key: str = ""
    ) -> None:
        """Take the port to post to, the events a second of all users together, and an API key."""
        self.problems: list[str] = []
        self.attempts = 0
        self._ledger = ledger
        self._http = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(local_address=CLIENT_HOST),
            base_url=f"http://127.0.0.1:{port}",
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=_ANSWER_TIMEOUT_S,
        )
        self._turns = {name: asyncio.Lock() for name in users}
        self._interval_s = len(users) / rate
        self._run = secrets.token_hex(8)  # so that keys of different runs differ
        self._ending = asyncio.Event()
        self.last_s = float("inf")

    async def run(self) -> None:
        """Publish until `end` is called, then a last event for each user.

        The last ones are sent when all others have been answered, from `last_s` on.
        """
        async with contextlib.aclosing(self._http):
            async with asyncio.TaskGroup() as users:
                for name in self._turns:
                    users.create_task(self._run_user(name))
            self.last_s = monotonic()
            await asyncio.gather(*map(self.publish, self._turns))

    def end(self) -> None:
        """End `run`."""
        self._ending.set()

    async def _run_user(self, name: str) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + random.uniform(0, self._interval_s)
        while not self._ending.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), max(0.0, due - loop.time()))
                break
            due = max(
                due + self._interval_s, loop.time()
            )  # events are not sent later after an outage
            await self.publish(name)

    async def publish(self, name: str, pad_bytes: int = 0) -> int:
        """Publish one event and retry until it is accepted; return its number."""
        async with self._turns[name]:
            number = self._ledger.send(name, monotonic())
            data = {"user": name, "number": number}
            if pad_bytes:
                data["pad"] = "x" * pad_bytes
            event = {"userId": name, "eventType": "chaos", "data": data}
            content = msgspec.json.encode(event)
            event_id = await self._retried(name, content, f"{self._run}-{name}-{number}")
            if event_id:
                self._ledger.acknowledge(name, number, position_of(event_id), monotonic())
            return number

    async def _retried(self, name: str, content: bytes, key: str) -> str:
        """Return the id of an acknowledged event; empty when it was never acknowledged."""
        loop = asyncio.get_running_loop()
        give_up_at: float | None = None
        while give_up_at is None or loop.time() < give_up_at:
            self.attempts += 1
            with contextlib.suppress(httpx.HTTPError):
                response = await self._post(content, key)
                if response.status_code == 202:
                    return msgspec.json.decode(response.content, type=Answer).ids[0]
                if response.is_client_error and response.status_code != 429:
                    status, text = response.status_code, response.text[:200]
                    self.problems.append(f"POST /events was answered {status}: {text!r}")
                    return ""
            await asyncio.sleep(_RETRY_S * random.uniform(0.5, 1.5))
            if give_up_at is None and self._ending.is_set():
                give_up_at = loop.time() + _LAST_ANSWERS_TIMEOUT_S
        self.problems.append(f"an event of {name} was never acknowledged")
        return ""

    async def revoke(self, token_id: str) -> bool:
        """Revoke a token by its id; return whether a node has accepted that."""
        with contextlib.suppress(httpx.HTTPError):
            response = await self._http.post("/revocations", json={"jti": token_id})
            return response.status_code == 200
        return False

    async def _post(self, content: bytes, key: str) -> httpx.Response:
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        return await self._http.post("/events", content=content, headers=headers)

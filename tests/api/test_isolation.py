"""No account, history or past event is read or changed without the right to it.

Random callers with tokens ask the routes of a real node, which has a real Valkey. What an answer
may hold is worked out here from its caller alone.
"""

from __future__ import annotations

import inspect
import json
import random
from collections import Counter
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from sse_node.access.gate import Gate
from sse_node.access.revocations import Revocations
from sse_node.access.rules import RULES
from sse_node.api.accounts import Accounts
from sse_node.api.past_events import PastEvents
from sse_node.config.hosts import ANY
from sse_node.config.reading import read_settings
from sse_node.errors import RequestError
from sse_node.http.cors import Cors
from sse_node.http.hosts import AllowedHosts
from sse_node.http.router import Resource, Router
from sse_node.wire.envelope import encode_envelope
from sse_node.wire.http_head import Request, Response
from tests.support.tokens import SECRET, signer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sse_node.redis.commands import RedisCommands
    from sse_node.redis.event_log import EventLog
from sse_node.redis.event_logs import EventLogs

REQUESTS = 3000
USERS = ["1", "01", "10", "1.", "1:", "a", "A", "a@b", "ann", "user:ann", "news", "system-events"]
# As an attacker writes another user.
SPELLINGS: list[Callable[[str], str]] = [
    quote,
    lambda user: "".join(f"%{byte:02X}" for byte in user.encode()),
    lambda user: quote(user) + "%00",
    lambda user: quote(user) + "%20",
    lambda user: quote(user.swapcase()),
    lambda user: "0" + quote(user),
    lambda user: f"{quote(user)}&userId=ann",
    lambda user: quote(quote(user, safe="")),
]


class World:
    """The routes of accounts and past events, and what each caller has been answered."""

    def __init__(self, log: EventLog, commands: RedisCommands, secret: Path, seed: int) -> None:
        self._log = log
        self._random = random.Random(seed)
        settings = read_settings({"auth": "jwt", "jwt_key": str(secret)}, {})
        revocations = Revocations(commands, log.keys, lambda name: None)
        revocations.is_loaded = True
        gate = Gate(settings.access, (), revocations, lambda why: Response(200), lambda: None)
        accounts = Accounts(EventLogs([log]), "1", lambda: "2026-11-27T12:00:00.000Z")
        past_events = PastEvents(EventLogs([log]), "1")
        self._router = Router(
            [
                Resource("/events", {"GET": past_events.list}),
                Resource("/accounts", {"GET": accounts.list, "POST": accounts.create}),
                Resource(
                    "/accounts/{id}",
                    {"GET": accounts.get, "PATCH": accounts.update, "DELETE": accounts.delete},
                ),
                Resource("/accounts/{id}/events", {"GET": accounts.history}),
            ],
            Cors(()),
            AllowedHosts((ANY,)),
            guard_of=lambda method, path: gate.guard(RULES[method, path]),
        )
        self._tokens = {
            user: signer("HS256").token(user, expires_in_s=3600, channels=["*"]) for user in USERS
        }
        self.owners: dict[int, str] = {}
        self.answers: Counter[tuple[str, int]] = Counter()

    async def ask(
        self,
        user: str,
        method: str,
        path: str,
        query: str = "",
        content: object = None,
        **more: str,
    ) -> Response | RequestError:
        headers = {b"host": b"node", b"authorization": b"Bearer " + self._tokens[user].encode()}
        headers |= {name.replace("_", "-").encode(): value.encode() for name, value in more.items()}
        data = b""
        if content is not None:
            data = json.dumps(content).encode()
            headers |= {b"content-type": b"application/json", b"content-length": b"%d" % len(data)}
        request = Request(method, path, query, headers, data)
        try:
            answer: Any = self._router.find(request).handler(request)
            response = await answer if inspect.isawaitable(answer) else answer
        except RequestError as error:
            response = error
        assert isinstance(response, Response | RequestError)
        self.answers[method, response.status] += 1
        return response

    async def populate(self) -> None:
        """Give every user two accounts and some events; channels have events of their own."""
        for user in USERS * 2:
            answer = await self.ask(user, "POST", "/accounts", "", {"name": user, "balance": 0})
            assert isinstance(answer, Response)
            account = json.loads(answer.content)
            self.owners[account["id"]] = user
        await self.publish()

    async def publish(self) -> None:
        """Publish events that say whom they are for."""
        events = []
        for user in self._random.sample(USERS, 6):
            data = json.dumps({"userId": user}).encode()
            events.append(("user-events", encode_envelope(user, "t", data, broadcast=False)))
            data = json.dumps({"userId": "nobody"}).encode()
            events.append((user, encode_envelope("", "t", data, broadcast=True)))
        await self._log.publish(events)

    async def step(self) -> None:
        """Ask something, and check that the answer is for its caller."""
        caller = self._random.choice(USERS)
        choice = self._random.random()
        if choice < 0.1:
            await self.publish()
        elif choice < 0.5:
            await self._list(caller)
        else:
            await self._use_account(caller)

    async def _list(self, caller: str) -> None:
        path = self._random.choice(["/events", "/events", "/accounts"])
        query = ""
        if self._random.random() < 0.8:
            query = "userId=" + self._random.choice(SPELLINGS)(self._random.choice(USERS))
        answer = await self.ask(caller, "GET", path, query)
        if isinstance(answer, RequestError):
            assert answer.status in {400, 403}
            return
        content = json.loads(answer.content)
        if path == "/events":
            of_user = [event["data"] for event in content["events"]]
            for data in of_user:  # accounts' events, and those of this test
                assert data.get("userId", data.get("account", {}).get("userId", caller)) == caller
                assert self.owners.get(data.get("accountId"), caller) == caller
        else:
            assert {account["userId"] for account in content} <= {caller}

    async def _use_account(self, caller: str) -> None:
        account_id = self._random.randint(1, len(self.owners) + 3)
        path = f"/accounts/{account_id}"
        match self._random.randint(0, 4):
            case 0:
                answer = await self.ask(caller, "GET", path)
            case 1:
                query = self._random.choice(["version=1", "at=2999-01-01T00:00:00Z", "version=99"])
                answer = await self.ask(caller, "GET", path, query, if_none_match='"7"')
            case 2:
                answer = await self.ask(caller, "GET", f"{path}/events")
            case 3:
                tag = self._random.choice(["*", '"1"', '"2", "3"'])
                content = {"name": caller, "balance": self._random.randint(0, 9)}
                answer = await self.ask(caller, "PATCH", path, "", content, if_match=tag)
            case _:
                answer = await self.ask(caller, "DELETE", path, if_match='"99"')
        self._check_account(caller, account_id, answer)

    def _check_account(self, caller: str, account_id: int, answer: Response | RequestError) -> None:
        if self.owners.get(account_id) != caller:
            # The same whether or not there is such an account, and nothing of its version.
            assert isinstance(answer, RequestError)
            assert answer.status == 403
            assert [name for name, _ in answer.headers] == [b"WWW-Authenticate"]
            assert "the user's own" in str(answer)
        elif isinstance(answer, RequestError):
            assert answer.status in {404, 412}
        elif answer.content:
            content = json.loads(answer.content)
            states = [event["changes"] for event in content] if isinstance(content, list) else [
                content
            ]  # fmt: skip
            assert {state["name"] for state in states} == {caller}


@pytest.mark.parametrize("seed", range(2))
async def test_nothing_is_read_or_changed_without_the_right(
    log: EventLog, commands: RedisCommands, tmp_path: Path, seed: int
) -> None:
    (tmp_path / "secret").write_bytes(SECRET)
    await log.open()
    world = World(log, commands, tmp_path / "secret", seed)
    await world.populate()
    for _ in range(REQUESTS):
        await world.step()
    for method, status in (("GET", 200), ("GET", 403), ("PATCH", 200), ("PATCH", 412),
                           ("PATCH", 403), ("DELETE", 403), ("DELETE", 412)):  # fmt: skip
        assert world.answers[method, status] > 3, (method, status)
    for account_id, owner in world.owners.items():
        answer = await world.ask(owner, "GET", f"/accounts/{account_id}")
        assert isinstance(answer, Response)
        assert json.loads(answer.content)["name"] == owner

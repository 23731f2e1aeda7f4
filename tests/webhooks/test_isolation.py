"""No caller sees, changes or hears of another user's webhooks, whatever it asks for.

Random callers use all routes of webhooks through the gate of a node, on a real Redis. What each may
do is worked out here anew, from whose webhook it is.
"""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest

from sse_node.access.gate import Gate
from sse_node.access.revocations import Revocations
from sse_node.access.rules import RULES
from sse_node.api.webhooks import Webhooks
from sse_node.config.reading import read_settings
from sse_node.errors import RequestError
from sse_node.http.cors import Cors
from sse_node.http.hosts import AllowedHosts
from sse_node.http.router import Router
from sse_node.node.resources import webhook_resources
from sse_node.redis.event_log import EventLog
from sse_node.redis.event_logs import EventLogs
from sse_node.redis.keys import Keys
from sse_node.webhooks.registry import WebhookRegistry
from sse_node.webhooks.targets import Targets
from sse_node.wire.http_head import Request, Response, parse_head
from tests.support.tokens import SECRET, signer

if TYPE_CHECKING:
    from pathlib import Path

    from sse_node.redis.commands import RedisCommands

USERS = ["1", "01", "a", "A", "a.", "a:", "a@b", "self", "user:a", "wh_1", "-1"]
PARTS = [("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/test"), ("GET", "/deliveries"),
         ("GET", "/dead-letters"), ("POST", "/dead-letters/replay")]  # fmt: skip


class World:
    """A node with tokens, and what its users have."""

    def __init__(self, commands: RedisCommands, secret: Path, seed: int) -> None:
        self._random = random.Random(seed)
        settings = read_settings({"auth": "jwt", "jwt_key": str(secret)}, {})
        revocations = Revocations(commands, Keys(), lambda name: None)
        revocations.is_loaded = True
        gate = Gate(settings.access, (), revocations, lambda reason: Response(200), lambda: None)

        async def lookup(host: str, port: int) -> list[str]:
            return ["8.8.8.8"]

        logs = EventLogs([EventLog(commands, 1000)])
        webhooks = Webhooks(
            logs,
            WebhookRegistry(logs, settings.webhooks.queue_limits(), 1000),
            Targets(settings.webhooks, lookup),
            "123",
            lambda: "2025-08-26T03:44:57.419Z",
        )
        self._router = Router(
            webhook_resources(webhooks),
            Cors(()),
            AllowedHosts(("node",)),
            guard_of=lambda method, path: gate.guard(RULES[method, path]),
        )
        self.owners: dict[str, str] = {}
        self.secrets: dict[str, str] = {}
        self.allowed = self.refused = 0

    async def step(self) -> None:
        """Ask for something as somebody, and check the answer."""
        caller = self._random.choice(USERS)
        choice = self._random.random()
        if choice < 0.2 or not self.owners:
            await self._create(caller)
        elif choice < 0.3:
            await self._list(caller)
        else:
            await self._use(caller)

    async def _create(self, caller: str) -> None:
        content: dict[str, Any] = {"url": "https://a.example/", "events": ["t"]}
        user = self._random.choice([caller, caller, self._random.choice(USERS)])
        if self._random.random() < 0.7:
            content["userId"] = user
        else:
            user = caller
        route = self._random.choice(["/webhooks", "/webhooks/register"])
        status, answer = await self._ask(caller, "POST", route, content)
        assert status == (201 if user == caller else 403)
        if status == 201:
            assert answer["userId"] == caller
            self.owners[answer["id"]] = caller
            self.secrets[answer["id"]] = answer["secret"]

    async def _list(self, caller: str) -> None:
        status, answer = await self._ask(caller, "GET", "/webhooks")
        assert status == 200
        own = {each for each, owner in self.owners.items() if owner == caller}
        assert {each["id"] for each in answer} == own
        other = self._random.choice([user for user in USERS if user != caller])
        status, _ = await self._ask(caller, "GET", f"/webhooks?userId={other}")
        assert status == 403

    async def _use(self, caller: str) -> None:
        webhook_id = self._random.choice([*self.owners, "wh_" + "0" * 24, caller])
        method, part = self._random.choice(PARTS)
        content = {"events": ["u"], "rotateSecret": True} if method == "PATCH" else None
        status, answer = await self._ask(caller, method, f"/webhooks/{webhook_id}{part}", content)
        if self.owners.get(webhook_id) != caller:
            assert status == 403, "the same for another's and for none"
            return
        assert status in {200, 202, 204}
        if method == "DELETE":
            del self.owners[webhook_id], self.secrets[webhook_id]
        elif part == "" and method == "GET":
            assert answer["userId"] == caller
        elif method == "PATCH":
            self.secrets[webhook_id] = answer["secret"]

    async def _ask(
        self, caller: str, method: str, target: str, content: object = None
    ) -> tuple[int, Any]:
        token = signer("HS256").token(caller, expires_in_s=3600)
        fields = [f"{method} {target} HTTP/1.1", "Host: node", f"Authorization: Bearer {token}"]
        if content is not None:
            fields += ["Content-Type: application/json", "Content-Length: 1"]
        request: Request = parse_head("\r\n".join([*fields, "", ""]).encode())
        request.content = json.dumps(content).encode() if content is not None else b""
        try:
            answer: Any = self._router.find(request).handler(request)
            if not isinstance(answer, Response):
                answer = await answer
        except RequestError as error:
            self.refused += 1
            return error.status, None
        self.allowed += 1
        text = answer.content.decode()
        shown = [each for each, secret in self.secrets.items() if secret in text]
        assert shown == [], "a secret is shown once"
        return answer.status, json.loads(text) if text else None


@pytest.mark.parametrize("seed", range(2))
async def test_no_webhook_is_anybody_elses(
    commands: RedisCommands, tmp_path: Path, seed: int
) -> None:
    (tmp_path / "secret").write_bytes(SECRET)
    world = World(commands, tmp_path / "secret", seed)
    for _ in range(800):
        await world.step()
    assert world.allowed > 100
    assert world.refused > 100
    assert len(set(world.owners.values())) > 5

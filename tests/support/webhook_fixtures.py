"""Webhooks on a real Redis, for tests of their queues."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sse_node.redis.event_logs import EventLogs
from sse_node.redis.keys import Keys
from sse_node.webhooks.dispatcher import Dispatcher
from sse_node.webhooks.queue import Queues
from sse_node.webhooks.registry import WebhookRegistry, new_id
from sse_node.wire.envelope import encode_envelope

if TYPE_CHECKING:
    from collections.abc import Callable

    from sse_node.redis.commands import RedisCommands
    from sse_node.redis.event_log import EventLog

KEYS = Keys()


@dataclass
class Hooks:
    """Webhooks and what reads the log for them.

    Attributes:
        limits: of queues.
    """

    commands: RedisCommands
    log: EventLog
    limits: str = "100:100000:1000000"

    @property
    def registry(self) -> WebhookRegistry:
        """The webhooks."""
        return WebhookRegistry(EventLogs([self.log]), self.limits, 1000)

    @property
    def queues(self) -> Queues:
        """Their queues."""
        return Queues(self.commands, KEYS, self.limits)

    def dispatcher(
        self, consumer: str = "one", wake: Callable[[], None] = lambda: None
    ) -> Dispatcher:
        """Return what reads the log; it is not started."""

        async def tidy() -> None:
            """Do nothing."""

        return Dispatcher(
            self.commands,
            self.commands,
            KEYS,
            limits=self.limits,
            consumer=consumer,
            wake=wake,
            tidy=tidy,
        )

    async def create(self, user: str = "ann", *events: str) -> str:
        """Create a webhook; return its id."""
        await self.log.open()
        fields = {
            "id": new_id(),
            "user": user,
            "url": "https://a.example/",
            "events": json.dumps(events or ["*"]),
            "secret": "whsec_" + "A" * 32,
            "enabled": "1",
            "created_at": "",
        }
        assert await self.registry.create(fields, b"{}", "", b"") == b"{}"
        return fields["id"]

    async def publish(self, *data: object, user: str = "ann", event_type: str = "t") -> list[str]:
        """Publish events; return their ids."""
        payloads = [
            encode_envelope(user, event_type, json.dumps(each).encode(), broadcast=False)
            for each in data
        ]
        return await self.log.publish([("user-events", payload) for payload in payloads])

    async def queued(self, webhook_id: str) -> list[Any]:
        """Return the messages in a queue."""
        key = KEYS.webhook_queue(webhook_id)
        return [json.loads(each) for each in await self.commands.execute("LRANGE", key, 0, -1)]

    async def shown(self, webhook_id: str) -> dict[str, str]:
        """Return a webhook's hash."""
        (webhook,) = await self.registry.get([webhook_id])
        return webhook

    async def state(self, name: str) -> str:
        """Return a member of the state of all."""
        value: bytes | None = await self.commands.execute("HGET", KEYS.webhooks_state, name)
        return (value or b"").decode()


async def dispatch_all(dispatcher: Dispatcher) -> int:
    """Put everything that the log has into queues; return how many entries are done."""
    done = 0
    while True:
        _, events = await dispatcher._read()
        await dispatcher._record_gap()
        if not events:
            return done
        assert await dispatcher._dispatch(events) == len(events)
        done += len(events)

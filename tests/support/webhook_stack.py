"""A node and a process that delivers webhooks, for tests that see them from outside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.support.nodes import wait_until

if TYPE_CHECKING:
    import httpx

    from bench.harness import WebhooksProcess

FLAGS = ("--webhook-allow-http", "yes", "--webhook-allow-hosts", "127.0.0.0/8")


@dataclass
class Stack:
    """A Redis, a node, and a process that delivers.

    Attributes:
        redis_url: of the Redis, of any kind.
        http: a client of the node.
        process: that delivers.
    """

    redis_url: str
    http: httpx.Client
    process: WebhooksProcess

    def create(self, url: str, user: str, *events: str, **members: object) -> dict[str, Any]:
        """Create a webhook of a user; return the answer."""
        content = {"url": url, "events": events or ["t"], "userId": user, **members}
        made = self.http.post("/webhooks", json=content)
        assert made.status_code == 201, made.text
        webhook: dict[str, Any] = made.json()
        return webhook

    def publish(self, user: str, *data: object, event_type: str = "t") -> list[str]:
        """Publish events to a user; return their ids."""
        events = [{"userId": user, "eventType": event_type, "data": each} for each in data]
        ids: list[str] = self.http.post("/events", json=events).raise_for_status().json()["ids"]
        return ids

    def publish_to_all(self, users: list[str], data: object) -> None:
        """Publish an event to each user."""
        events = [{"userId": user, "eventType": "t", "data": data} for user in users]
        self.http.post("/events", json=events).raise_for_status()

    def show(self, webhook: dict[str, Any], part: str = "") -> Any:  # noqa: ANN401
        """Return a webhook, or a part of it."""
        return self.http.get(f"/webhooks/{webhook['id']}{part}").raise_for_status().json()

    def attempts(self, webhook: dict[str, Any], count: int) -> list[dict[str, Any]]:
        """Wait for so many attempts; return them, the oldest first."""
        wait_until(lambda: len(self.show(webhook, "/deliveries")) >= count, f"{count} attempts", 20)
        return list(reversed(self.show(webhook, "/deliveries")))

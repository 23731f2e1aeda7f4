"""Messages for bridges, and what became of them in the event log."""

from __future__ import annotations

import json
from typing import Any

from redis import Redis

from tests.support.nodes import wait_until

WAIT_S = 60.0
"""Brokers and bridges are slow to start beside other load."""


def messages(user: str, numbers: range) -> list[dict[str, Any]]:
    """Return an event of a user with each number, as `POST /events` takes it."""
    return [
        {"userId": user, "eventType": "order.paid", "data": {"number": number}}
        for number in numbers
    ]


def numbers_of(redis_url: str, user: str) -> list[int]:
    """Return the numbers in the event log of a user, in order."""
    with Redis.from_url(redis_url) as redis:
        entries: Any = redis.xrange("sse:log")
    events = [json.loads(fields[b"payload"]) for _, fields in entries if b"channel" in fields]
    return [event["data"]["number"] for event in events if event.get("userId") == user]


def wait_for_count(redis_url: str, user: str, count: int, timeout_s: float = WAIT_S) -> None:
    """Wait until the event log has so many of a user."""
    wait_until(
        lambda: len(numbers_of(redis_url, user)) >= count, f"{count} events of {user}", timeout_s
    )

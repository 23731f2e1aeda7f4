"""What schemathesis cannot know of requests that depend on earlier ones.

A key that comes again with another content is refused, as it should be, and so is a change of
another version than the present one; tests of their own have both.
"""

from __future__ import annotations

import itertools
from typing import Any

import schemathesis

_numbers = itertools.count()


@schemathesis.hook
def before_call(context: object, case: Any, kwargs: object) -> None:  # noqa: ANN401
    """Give each request a key of its own, and conditions that hold."""
    headers = case.headers or {}
    if "Idempotency-Key" in headers:
        if "cloudevents" in (case.media_type or ""):
            del headers["Idempotency-Key"]  # they have a key of their own
        else:
            headers["Idempotency-Key"] = f"key-{next(_numbers)}"
    for event in case.body if isinstance(case.body, list) else [case.body]:
        if isinstance(event, dict) and isinstance(event.get("id"), str) and event["id"]:
            event["id"] = f"event-{next(_numbers)}" if len(event["id"]) <= 1024 else event["id"]
    for name in ("If-Match", "If-None-Match"):
        if name in headers:
            headers[name] = "*"
    if case.query and "version" in case.query:
        case.query.pop("at", None)  # one of them; OpenAPI cannot say so

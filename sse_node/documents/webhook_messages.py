"""The messages that `sse-node webhooks` sends, for both documents."""

from typing import Any, Final

import msgspec

from sse_node.documents.answers import Gap


class WebhookMessage(msgspec.Struct, rename="camel"):
    """The content of a message of a webhook."""

    type: str
    timestamp: str
    user_id: str
    data: Any


class Tested(msgspec.Struct):
    """The message that `POST /webhooks/{id}/test` queues."""


WEBHOOK_EVENTS: Final[dict[str, Any]] = {"webhook.test": Tested, "webhook.gap": Gap}
"""The data of the messages that only webhooks get, by their type."""

_HEADERS: Final[dict[str, tuple[str, str]]] = {
    "webhook-id": ("The event's id, the same at every attempt.", r"^[0-9]{1,20}-[0-9a-z-]{1,40}$"),
    "webhook-timestamp": ("Of the attempt, in Unix seconds.", "^[0-9]+$"),
    "webhook-signature": (
        "One or two signatures as in Standard Webhooks.",
        r"^v1,[A-Za-z0-9+/]{43}=( v1,[A-Za-z0-9+/]{43}=)?$",
    ),
}
_EXAMPLE: Final = {
    "type": "order.paid",
    "timestamp": "2025-11-23T12:13:20.001Z",
    "userId": "ann",
    "data": {"order": 7},
}
_ANSWERS: Final = {
    "2XX": "Delivered.",
    "410": "The webhook is disabled, and its queue is deleted.",
    "429": "Retried, not before `Retry-After`.",
    "503": "Retried, not before `Retry-After`.",
    "default": "Retried; after eight attempts it is a dead letter.",
}


def request_of_webhooks(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the OpenAPI operation that a receiver implements.

    Args:
        schema: of WebhookMessage.
    """
    parameters = [
        {"name": name, "in": "header", "required": True, "description": about, "schema": value}
        for name, (about, value) in _described_headers().items()
    ]
    return {
        "operationId": "receiveWebhookMessage",
        "tags": ["Webhooks"],
        "summary": "A message to the URL of a webhook",
        "description": "Signed, in the order of the log, at least once.",
        "security": [],
        "parameters": parameters,
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": schema, "example": _EXAMPLE}},
        },
        "responses": {status: {"description": about} for status, about in _ANSWERS.items()},
    }


def message_of_webhooks(event_type: str, data: dict[str, Any]) -> dict[str, Any]:
    """Return the AsyncAPI message of a type.

    Args:
        event_type: empty for the events of the log.
        data: schema of its data.
    """
    kind = {"const": event_type} if event_type else {"type": "string"}
    members = {
        "type": kind,
        "timestamp": {"type": "string", "format": "date-time"},
        "userId": {"type": "string"},
        "data": data,
    }
    return {
        "name": event_type or "event",
        "title": event_type or "an event of the log",
        "headers": {
            "type": "object",
            "required": list(_HEADERS),
            "properties": {
                name: {"description": about, **value}
                for name, (about, value) in _described_headers().items()
            },
        },
        "payload": {"type": "object", "required": list(members), "properties": members},
    }


def _described_headers() -> dict[str, tuple[str, dict[str, Any]]]:
    return {
        name: (about, {"type": "string", "pattern": pattern})
        for name, (about, pattern) in _HEADERS.items()
    }

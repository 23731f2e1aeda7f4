"""The AsyncAPI 3 document: channels of Redis, the stream, webhooks, and the messages on them."""

from typing import Any, Final

import msgspec

from sse_node import __version__
from sse_node.documents.events import EVENTS, OWN_EVENTS
from sse_node.documents.webhook_messages import WEBHOOK_EVENTS, message_of_webhooks

_TEMPLATE: Final = "#/components/schemas/{name}"
_TEXT: Final = {"type": "string"}
# (name, address, the member that says whom it is for, about)
_CHANNELS: Final[tuple[tuple[str, str, dict[str, Any], str], ...]] = (
    ("userEvents", "user-events", {"userId": {"type": ["string", "integer"]}}, "For one user."),
    ("systemEvents", "system-events", {}, "For every stream of a user."),
    ("analyticsEvents", "analytics-events", {}, "For the streams that ask for it."),
    (
        "channelEvents",
        "channel-events",
        {"channel": _TEXT},
        "For a channel whose name matches a pattern.",
    ),
)


def asyncapi_document() -> dict[str, Any]:
    """Return the document; two calls return equal ones."""
    types = {**EVENTS, **OWN_EVENTS, **WEBHOOK_EVENTS}
    schemas, components = msgspec.json.schema_components(
        list(types.values()), ref_template=_TEMPLATE
    )
    data = dict(zip(types, schemas, strict=True))
    on_streams = {_key(name): _message(name, data[name]) for name in [*EVENTS, *OWN_EVENTS]}
    on_streams["anyEvent"] = _message("", {})
    to_webhooks = {_key(name): message_of_webhooks(name, data[name]) for name in WEBHOOK_EVENTS}
    to_webhooks["webhookEvent"] = message_of_webhooks("", {})
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "sse-node",
            "version": __version__,
            "description": "What nodes receive from Redis, and what streams and webhooks carry.",
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "channels": {
            **{
                name: _channel(address, members, about)
                for name, address, members, about in _CHANNELS
            },
            "stream": {
                "address": "/events/sse",
                "description": "An event stream over HTTP.",
                "messages": {key: _reference("messages", key) for key in on_streams},
            },
            "webhook": {
                "address": None,
                "description": "The URL of a webhook.",
                "messages": {key: _reference("messages", key) for key in to_webhooks},
            },
        },
        "operations": {
            **{
                f"receive{name[0].upper()}{name[1:]}": _operation("receive", name)
                for name, *_ in _CHANNELS
            },
            "sendToStream": _operation("send", "stream"),
            "sendToWebhook": {
                **_operation("send", "webhook"),
                "bindings": {"http": {"method": "POST", "bindingVersion": "0.3.0"}},
            },
        },
        "components": {"messages": {**on_streams, **to_webhooks}, "schemas": components},
    }


def _operation(action: str, channel: str) -> dict[str, Any]:
    return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}}


def _key(event_type: str) -> str:
    first, *others = event_type.split(".")
    return first + "".join(other.capitalize() for other in others)


def _message(event_type: str, data: dict[str, Any]) -> dict[str, Any]:
    """Return the message of an event type, empty for any: its data on a stream."""
    described: dict[str, Any] = {"payload": data}
    if event_type:
        described |= {"name": event_type, "title": event_type}
    else:
        described |= {"name": "any", "title": "an event of an application"}
    return described


def _channel(address: str, members: dict[str, Any], about: str) -> dict[str, Any]:
    envelope = {
        "type": "object",
        "required": [*members, "eventType", "data"],
        "properties": {
            "id": {"type": "string", "description": "Of the log; absent without a promise."},
            "log": {"type": "string", "description": "The random name of the log."},
            **members,
            "eventType": {"type": "string", "pattern": "^[A-Za-z0-9_.:-]{1,64}$"},
            "data": {"description": "Any JSON; of the events of accounts, see the messages."},
        },
    }
    return {
        "address": address,
        "description": f"A Redis Pub/Sub channel. {about}",
        "messages": {"event": {"name": "event", "payload": envelope}},
    }


def _reference(kind: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/components/{kind}/{name}"}

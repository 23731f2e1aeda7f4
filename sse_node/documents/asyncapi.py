"""The AsyncAPI 3 document: the channels of Redis, the stream, and the messages on them."""

from typing import Any, Final

import msgspec

from sse_node import __version__
from sse_node.documents.events import EVENTS, OWN_EVENTS

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
    types = {**EVENTS, **OWN_EVENTS}
    schemas, components = msgspec.json.schema_components(
        list(types.values()), ref_template=_TEMPLATE
    )
    data = dict(zip(types, schemas, strict=True))
    messages = {_key(name): _message(name, data[name]) for name in types}
    messages["anyEvent"] = _message("", {})
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "sse-node",
            "version": __version__,
            "description": "What nodes hear on Redis, and what streams carry to clients.",
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
                "messages": {key: _reference("messages", key) for key in messages},
            },
        },
        "operations": {
            **{
                f"hear{name[0].upper()}{name[1:]}": {
                    "action": "receive",
                    "channel": {"$ref": f"#/channels/{name}"},
                }
                for name, *_ in _CHANNELS
            },
            "tellStream": {"action": "send", "channel": {"$ref": "#/channels/stream"}},
        },
        "components": {"messages": messages, "schemas": components},
    }


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

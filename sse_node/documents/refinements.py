"""What the schemas of contents say beyond their types: what the routes check themselves."""

import re
from typing import Any, Final

from sse_node.api.revocations import MAX_UNTIL_S
from sse_node.api.webhooks import ALL_EVENTS, MAX_EVENTS
from sse_node.webhooks.targets import MAX_URL
from sse_node.wire.channels import Channels

USER: Final[dict[str, Any]] = {
    "type": "string",
    "minLength": 1,
    "maxLength": 255,
    "pattern": r"^(?!\.\.?$)[!#-\[\]-~]+$",
}
# As of the default settings; what the name leads to is checked as well.
_URL: Final = (
    r"^https://([A-Za-z0-9_-]{1,63}\.){0,9}[A-Za-z][A-Za-z0-9_-]{0,62}(:(443|8443))?"
    r"([/?][!\"$-\[\]-~]*)?$"
)
_SECRET: Final = r"^whsec_([A-Za-z0-9+/]{4}){8,21}$"
_EVENT_TYPE: Final[dict[str, Any]] = {
    "type": "string",
    "minLength": 1,
    "maxLength": 64,
    "pattern": r"^(?!(open|error|message|ping)$|sse\.)[A-Za-z0-9_.:-]+$",
}
_WEBHOOK: Final[dict[str, Any]] = {
    "url": {"type": "string", "maxLength": MAX_URL, "pattern": _URL},
    "events": {
        "type": "array",
        "minItems": 1,
        "maxItems": MAX_EVENTS,
        "items": {"anyOf": [{"const": ALL_EVENTS}, _EVENT_TYPE]},
    },
    "secret": {"type": "string", "pattern": _SECRET},
}
_ANY_CHARACTERS: Final = r"[!#-+\--\[\]-~]+"
_MOST: Final = 2**53 - 1
_BALANCE: Final[dict[str, Any]] = {"type": "number", "minimum": -_MOST, "maximum": _MOST}


def refinements(channels: Channels) -> dict[str, dict[str, Any]]:
    """Return by schema what replaces or joins its members.

    Args:
        channels: of the node.
    """
    channel = {"type": "string", "maxLength": 255, "pattern": _expression_of(channels)}
    return {
        "EventContent": {
            "properties": {"eventType": _EVENT_TYPE, "userId": USER, "channel": channel},
            "oneOf": _exactly_one("userId", "channel"),
        },
        "CloudEventContent": {
            "properties": {
                "specversion": {"const": "1.0"},
                "type": _EVENT_TYPE,
                "channel": channel,
                "data_base64": False,
            },
            "anyOf": [
                {"required": ["subject"], "properties": {"subject": USER}},
                {"required": ["channel"]},
            ],
        },
        "NewAccount": {"properties": {"balance": _BALANCE, "userId": USER}},
        "AccountChanges": {
            "properties": {"balance": _BALANCE},
            "anyOf": [{"required": ["name"]}, {"required": ["balance"]}],
        },
        "NewWebhook": {"properties": {**_WEBHOOK, "userId": USER}},
        "WebhookChanges": {
            "properties": {
                **_WEBHOOK,
                "enabled": {"type": "boolean"},
                "rotateSecret": {"type": "boolean"},
            },
            "anyOf": [
                *({"required": [name]} for name in ("url", "events", "enabled", "secret")),
                {"required": ["rotateSecret"], "properties": {"rotateSecret": {"const": True}}},
            ],
        },
        "NewRevocation": {
            "properties": {
                "user": USER,
                "jti": {"type": "string", "minLength": 1, "maxLength": 255},
                "until": {
                    "type": "number",
                    "minimum": 0,
                    "maximum": MAX_UNTIL_S,
                    "description": "Unix seconds; RFC 3339 text is accepted, too.",
                },
            },
            "oneOf": _exactly_one("user", "jti"),
        },
    }


def _exactly_one(*names: str) -> list[dict[str, Any]]:
    return [{"required": [name]} for name in names]


def _expression_of(channels: Channels) -> str:
    names = (re.sub(r"([\\^$.|?+()\[\]{}])", r"\\\1", entry) for entry in channels)
    return f"^({'|'.join(name.replace('*', _ANY_CHARACTERS) for name in names)})$"


def refine(schema: dict[str, Any], refinement: dict[str, Any]) -> dict[str, Any]:
    """Return a schema with a refinement: properties one by one, other members as they are."""
    properties = {**schema["properties"], **refinement["properties"]}
    return {**schema, **refinement, "properties": properties}

"""TypeScript types of the documents' schemas, which the npm package is built with.

`python -m sse_node.documents.typescript` prints them; `make client-types` writes them.
"""

import json
import re
import sys
from collections.abc import Iterator
from typing import Any, Final

from sse_node.documents.asyncapi import asyncapi_document
from sse_node.documents.events import EVENTS
from sse_node.documents.openapi import openapi_document
from sse_node.wire.channels import Channels

_HEAD: Final = (
    "/** The types of the HTTP API and of events. Made by `make client-types`: do not edit. */\n"
)
_SIMPLE: Final = {
    "string": "string",
    "integer": "number",
    "number": "number",
    "boolean": "boolean",
    "null": "null",
}


def typescript_types() -> str:
    """Return a module with an interface for each schema, and one for the data of all events."""
    openapi, asyncapi = openapi_document(Channels([])), asyncapi_document()
    schemas = {**openapi["components"]["schemas"], **asyncapi["components"]["schemas"]}
    interfaces = [_interface(name, schemas[name]) for name in sorted(schemas)]
    payloads = {
        each["name"]: each["payload"] for each in asyncapi["components"]["messages"].values()
    }
    members = {event_type: payloads[event_type] for event_type in EVENTS}
    about = "The data of the events that a node publishes itself, by event type."
    events = {"description": about, "properties": members, "required": list(members)}
    return "\n".join([_HEAD, *interfaces, _interface("NodeEvents", events)])


def _interface(name: str, schema: dict[str, Any]) -> str:
    about = f"/** {_first_paragraph(schema['description'])} */\n" if "description" in schema else ""
    return f"{about}export interface {name} {{\n{''.join(_members(schema))}}}\n"


def _first_paragraph(text: str) -> str:
    return text.partition("\n\n")[0].replace("*/", "* /")


def _members(schema: dict[str, Any]) -> Iterator[str]:
    required = set(schema.get("required", ()))
    for name, member in schema["properties"].items():
        if member is False:  # forbidden
            continue
        if isinstance(member, dict) and "description" in member:
            yield f"  /** {_first_paragraph(member['description'])} */\n"
        key = name if re.fullmatch(r"[A-Za-z_]\w*", name) else json.dumps(name)
        yield f"  {key}{'' if name in required else '?'}: {_type(member)};\n"


def _type(schema: dict[str, Any]) -> str:
    """Return the type of a schema: one of those that msgspec and the refinements make."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return " | ".join(map(json.dumps, schema["enum"]))
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(map(_type, schema["anyOf"])))
    if schema.get("type") == "array":
        item = _type(schema["items"])
        return f"({item})[]" if " " in item else f"{item}[]"
    if schema.get("type") == "object":
        return f"Record<string, {_type(schema.get('additionalProperties', {}))}>"
    return _SIMPLE[schema["type"]] if "type" in schema else "unknown"


if __name__ == "__main__":
    sys.stdout.write(typescript_types())

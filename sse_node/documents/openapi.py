"""The OpenAPI 3.2 document, made from the table of operations and the types of contents."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from sse_node import __version__
from sse_node.access.rules import RULES, Requirement
from sse_node.documents.answers import Problem
from sse_node.documents.operation import STREAM, Answer, Operation, Parameter
from sse_node.documents.operations import OPERATIONS
from sse_node.documents.refinements import refine, refinements
from sse_node.wire.channels import Channels
from sse_node.wire.http_head import reason_phrase

_PROBLEM: Final = "application/problem+json"
_TEMPLATE: Final = "#/components/schemas/{name}"
_OF_EVERY_ROUTE: Final = (400, 421, 429)
_OF_EVERY_CALLER: Final = (401, 403, 503)
_ABOUT: Final = (
    "Server-Sent Events for very many clients, and the accounts behind them. "
    "Every event with an id reaches every open stream of its user or channel, "
    "or the stream gets `sse.reset`."
)


def openapi_document(channels: Channels) -> dict[str, Any]:
    """Return the document.

    Args:
        channels: that may be published to.
    """
    types = [Problem, *_types_of(OPERATIONS.values())]
    schemas, components = msgspec.json.schema_components(types, ref_template=_TEMPLATE)
    for name, refinement in refinements(channels).items():
        components[name] = refine(components[name], refinement)
    by_type = dict(zip(map(repr, types), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for (method, path), operation in OPERATIONS.items():
        item = paths.setdefault(path, {})
        item[method.lower()] = _operation(operation, RULES[method, path], by_type)
    return {
        "openapi": "3.2.0",
        "info": {
            "title": "sse-node",
            "version": __version__,
            "description": _ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": topic} for topic in dict.fromkeys(o.topic for o in OPERATIONS.values())],
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": {str(status): _problem(status, by_type) for status in _statuses()},
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token (JWT) of a user, or the API key of a service.",
                }
            },
        },
    }


def _types_of(operations: Iterable[Operation]) -> list[Any]:
    types: dict[str, Any] = {}
    for operation in operations:
        for content in operation.content.values():
            types[repr(content.type)] = content.type
        for answer in operation.answers.values():
            if answer.type is not None:
                types[repr(answer.type)] = answer.type
    return list(types.values())


def _statuses() -> list[int]:
    own = {status for operation in OPERATIONS.values() for status in operation.errors}
    return sorted({*_OF_EVERY_ROUTE, *_OF_EVERY_CALLER, *own})


def _problem(status: int, schemas: dict[str, Any]) -> dict[str, Any]:
    headers = {"X-Server-Id": _header("the node that answered")}
    if status in {429, 503}:
        headers["Retry-After"] = _header("seconds")
    if status in {401, 403}:
        headers["WWW-Authenticate"] = _header("what is missing")
    return {
        "description": reason_phrase(status),
        "headers": headers,
        "content": {_PROBLEM: {"schema": schemas[repr(Problem)]}},
    }


def _header(about: str) -> dict[str, Any]:
    return {"description": about, "schema": {"type": "string"}}


def _operation(
    operation: Operation, requirement: Requirement, schemas: dict[str, Any]
) -> dict[str, Any]:
    is_open = requirement is Requirement.NOTHING
    errors = {*_OF_EVERY_ROUTE, *operation.errors, *(() if is_open else _OF_EVERY_CALLER)}
    answers = {
        str(status): _answer(answer, schemas) for status, answer in operation.answers.items()
    }
    problems = {
        str(status): {"$ref": f"#/components/responses/{status}"} for status in sorted(errors)
    }
    described: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.topic],
        "summary": operation.summary,
        "description": f"{operation.about} Requires {requirement.value}.".strip(),
        "security": [] if is_open else [{"bearer": []}, {}],
        "responses": answers | problems,
    }
    if operation.parameters:
        described["parameters"] = [_parameter(each) for each in operation.parameters]
    if operation.content:
        described["requestBody"] = {
            "required": True,
            "content": {
                media_type: {"schema": schemas[repr(content.type)], "example": content.example}
                for media_type, content in operation.content.items()
            },
        }
    return described


def _parameter(parameter: Parameter) -> dict[str, Any]:
    described = {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.about,
        "required": parameter.place == "path",
        "schema": parameter.schema,
    }
    if parameter.schema.get("type") == "array":
        described |= {"style": "form", "explode": False}
    if parameter.example is not None:
        described["example"] = parameter.example
    return described


def _answer(answer: Answer, schemas: dict[str, Any]) -> dict[str, Any]:
    headers = {"X-Server-Id": "the node that answered", **answer.headers}
    described: dict[str, Any] = {
        "description": answer.about,
        "headers": {name: _header(about) for name, about in headers.items()},
    }
    if answer.type is not None:
        kind = "itemSchema" if answer.media_type == STREAM else "schema"
        described["content"] = {answer.media_type: {kind: schemas[repr(answer.type)]}}
    return described

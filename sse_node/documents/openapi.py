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
from sse_node.documents.security import Security
from sse_node.documents.webhook_messages import WebhookMessage, request_of_webhooks
from sse_node.wire.channels import Channels
from sse_node.wire.http_head import reason_phrase

_PROBLEM: Final = "application/problem+json"
_OPEN: Final = Security()
_TEMPLATE: Final = "#/components/schemas/{name}"
_HEALTH: Final = "/health"  # open to every host, and never limited
_RATE_LIMITS: Final = {
    "RateLimit-Policy": "each limit: its name, burst `q` and window `w` in seconds",
    "RateLimit": "each limit: requests left `r`, and seconds `t` until all of its burst is",
}
_ABOUT: Final = (
    "Server-Sent Events for very many clients, and the accounts behind them. "
    "Every event with an id reaches every open stream of its user or channel, "
    "or the stream gets `sse.reset`."
)


def openapi_document(channels: Channels, security: Security = _OPEN) -> dict[str, Any]:
    """Return the document.

    Args:
        channels: of the node.
        security: what the node requires of its callers.
    """
    types = [Problem, WebhookMessage, *_types_of(OPERATIONS.values())]
    schemas, components = msgspec.json.schema_components(types, ref_template=_TEMPLATE)
    for name, refinement in refinements(channels).items():
        components[name] = refine(components[name], refinement)
    by_type = dict(zip(map(repr, types), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for (method, path), operation in OPERATIONS.items():
        item = paths.setdefault(path, {})
        requirement = RULES[method, path]
        item[method.lower()] = {
            **_operation(operation, requirement, _errors_of(path, requirement, operation), by_type),
            "security": security.of(requirement),
        }
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
        "webhooks": {"message": {"post": request_of_webhooks(by_type[repr(WebhookMessage)])}},
        "components": {
            "schemas": components,
            "responses": {str(status): _problem(status, by_type) for status in _statuses()},
            "headers": {name: _header(about) for name, about in _RATE_LIMITS.items()},
            "securitySchemes": security.schemes(),
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


def _errors_of(path: str, requirement: Requirement, operation: Operation) -> set[int]:
    """Return the statuses of problems; a stream that cannot be opened is refused with 200."""
    errors = {400, *operation.errors}
    is_stream = requirement is Requirement.OWN_STREAM
    if not path.startswith(_HEALTH):
        errors |= {421} if is_stream else {421, 429}
    if requirement is not Requirement.NOTHING:
        errors |= {401, 403} if is_stream else {401, 403, 503}
    return errors


def _statuses() -> list[int]:
    every = (
        _errors_of(path, RULES[method, path], operation)
        for (method, path), operation in OPERATIONS.items()
    )
    return sorted(set().union(*every))


def _problem(status: int, schemas: dict[str, Any]) -> dict[str, Any]:
    headers = {"X-Server-Id": _header("the node that answered")}
    if status in {429, 503}:
        headers["Retry-After"] = _header("seconds")
    if status == 429:
        headers |= _rate_limits()
    if status in {401, 403}:
        headers["WWW-Authenticate"] = _header("what is missing")
    return {
        "description": reason_phrase(status),
        "headers": headers,
        "content": {_PROBLEM: {"schema": schemas[repr(Problem)]}},
    }


def _rate_limits() -> dict[str, Any]:
    """Return the headers of an answer to a request that counts against limits."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in _RATE_LIMITS}


def _header(about: str) -> dict[str, Any]:
    return {"description": about, "schema": {"type": "string"}}


def _operation(
    operation: Operation, requirement: Requirement, errors: set[int], schemas: dict[str, Any]
) -> dict[str, Any]:
    answers = {
        str(status): _answer(answer, schemas, is_counted=429 in errors)
        for status, answer in operation.answers.items()
    }
    problems = {
        str(status): {"$ref": f"#/components/responses/{status}"} for status in sorted(errors)
    }
    described: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.topic],
        "summary": operation.summary,
        "description": f"{operation.about} Requires {requirement.value}.".strip(),
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


def _answer(answer: Answer, schemas: dict[str, Any], *, is_counted: bool) -> dict[str, Any]:
    headers = {"X-Server-Id": "the node that answered", **answer.headers}
    described: dict[str, Any] = {
        "description": answer.about,
        "headers": {
            **{name: _header(about) for name, about in headers.items()},
            **(_rate_limits() if is_counted else {}),
        },
    }
    if answer.type is not None:
        kind = "itemSchema" if answer.media_type == STREAM else "schema"
        described["content"] = {answer.media_type: {kind: schemas[repr(answer.type)]}}
    return described

"""The OpenAPI document: every route, every reference, every example."""

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from sse_node.access.rules import RULES
from sse_node.config.reading import read_settings
from sse_node.documents.asyncapi import asyncapi_document
from sse_node.documents.openapi import openapi_document
from sse_node.documents.operations import OPERATIONS
from sse_node.documents.resources import Documents
from sse_node.documents.security import Security, security_of
from sse_node.node.composition import Node
from sse_node.wire.channels import Channels
from sse_node.wire.http_head import Request

CHANNELS = Channels(["news", "room:*"])
DOCUMENT = openapi_document(CHANNELS)
DOCUMENTS = [DOCUMENT, asyncapi_document()]
CONTENTS = [
    pytest.param(content, id=f"{method} {path} {media_type}")
    for (method, path), operation in OPERATIONS.items()
    for media_type, content in operation.content.items()
]


def references_in(value: Any) -> Iterator[str]:  # noqa: ANN401
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for member in value.values():
            yield from references_in(member)
    elif isinstance(value, list):
        for item in value:
            yield from references_in(item)


async def test_every_route_is_described_and_nothing_else() -> None:
    node = Node(read_settings({}, {}), "unix:///nowhere/redis.sock")
    routes = {(method, each.path) for each in node.resources for method in each.handlers}
    assert OPERATIONS.keys() == routes == RULES.keys()
    paths = DOCUMENT["paths"]
    assert {(m.upper(), path) for path, item in paths.items() for m in item} == routes


@pytest.mark.parametrize("document", DOCUMENTS, ids=["openapi", "asyncapi"])
def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    references = set(references_in(document))
    assert len(references) > 10
    for reference in references:
        target: Any = document
        for name in reference.removeprefix("#/").split("/"):
            target = target[name]
        assert target


def test_every_parameter_of_a_path_is_described() -> None:
    for path, item in DOCUMENT["paths"].items():
        for operation in item.values():
            described = [p["name"] for p in operation.get("parameters", []) if p["in"] == "path"]
            assert all(f"{{{name}}}" in path for name in described)
            assert path.count("{") == len(described)


def test_operations_have_names_of_their_own() -> None:
    names = [operation.name for operation in OPERATIONS.values()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("content", CONTENTS)
def test_every_example_is_what_the_route_decodes(content: Any) -> None:  # noqa: ANN401
    decoded = msgspec.json.decode(json.dumps(content.example), type=content.type)
    assert decoded is not None


def test_streams_are_described_item_by_item() -> None:
    answer = DOCUMENT["paths"]["/events/sse"]["get"]["responses"]["200"]
    schema = answer["content"]["text/event-stream"]["itemSchema"]
    assert schema == {"$ref": "#/components/schemas/StreamItem"}


def test_documents_are_made_once() -> None:
    documents = Documents(CHANNELS, Security())
    request = Request("GET", "/openapi.json", "", {})
    for get in (documents.openapi, documents.asyncapi, documents.reference):
        assert get(request) is get(request)
        assert get(request).status == 200
    assert json.loads(documents.openapi(request).content) == openapi_document(CHANNELS)


def test_the_reference_has_every_operation_and_needs_no_other_host() -> None:
    page = Documents(CHANNELS, Security()).reference(Request("GET", "/docs/api", "", {}))
    text = page.content.decode()
    for (method, path), operation in OPERATIONS.items():
        assert f'id="{operation.name}"' in text
        assert f"{method} {path}</code>" in text
    assert "A token (JWT) of a user, or the API key of a service." in text
    assert not re.search(r"(?:src|href|action)=.?(?:https?:)?//|url\(|@import", text)
    assert 'id="receiveWebhookMessage"' in text
    assert "<script" not in text
    policy = dict(page.headers)[b"Content-Security-Policy"]
    assert b"script-src 'none'; style-src 'sha256-" in policy


@pytest.mark.parametrize(
    ("channel", "matches"),
    [("news", True), ("room:1", True), ("room:", False), ("new", False), ("system-events", True)],
)
def test_the_channels_of_the_node_are_those_of_the_document(channel: str, matches: bool) -> None:
    schema = DOCUMENT["components"]["schemas"]["EventContent"]["properties"]["channel"]
    assert (re.search(schema["pattern"], channel) is not None) is matches
    assert (channel in CHANNELS) is matches


# Authentication


BEARER: Any = {"bearer": []}
COOKIE: Any = {"cookie": []}
QUERY: Any = {"query": []}
NOBODY: Any = {}


@pytest.mark.parametrize(
    ("flags", "stream", "accounts"),
    [
        ({}, [BEARER, NOBODY], [BEARER, NOBODY]),
        ({"auth": "proxy", "auth_cookie": "c"}, [BEARER, NOBODY], [BEARER, NOBODY]),
        ({"auth": "jwt"}, [BEARER], [BEARER]),
        (
            {"auth": "jwt", "auth_cookie": "c", "auth_query": "yes", "public_channels": "news"},
            [BEARER, COOKIE, QUERY, NOBODY],
            [BEARER, COOKIE, QUERY],
        ),
    ],
)
def test_security_is_that_of_the_settings(
    flags: dict[str, str | None], stream: list[Any], accounts: list[Any]
) -> None:
    document = openapi_document(CHANNELS, security_of(read_settings(flags, {})))
    paths = document["paths"]
    assert paths["/events/sse"]["get"]["security"] == stream
    assert paths["/accounts"]["get"]["security"] == accounts
    assert paths["/health"]["get"]["security"] == []
    schemes = document["components"]["securitySchemes"]
    assert {name for need in stream + accounts for name in need} == schemes.keys()


# Statuses and headers


def answers_of(method: str, path: str) -> dict[str, Any]:
    answers: dict[str, Any] = DOCUMENT["paths"][path][method]["responses"]
    return answers


@pytest.mark.parametrize(
    ("method", "path", "errors"),
    [
        ("get", "/events/sse", {"400", "401", "403", "421"}),
        ("get", "/health/ready", {"400", "503"}),
        ("get", "/docs/api", {"400", "421", "429"}),
        ("get", "/accounts", {"400", "401", "403", "421", "429", "503"}),
    ],
)
def test_a_route_has_the_problems_that_it_answers(method: str, path: str, errors: set[str]) -> None:
    assert {status for status in answers_of(method, path) if status >= "400"} == errors


def test_counted_requests_have_the_headers_of_limits() -> None:
    limits = {"RateLimit", "RateLimit-Policy"}
    assert answers_of("post", "/events")["202"]["headers"].keys() >= limits
    assert DOCUMENT["components"]["responses"]["429"]["headers"].keys() >= {*limits, "Retry-After"}
    for path in ("/events/sse", "/health"):
        assert not limits & answers_of("get", path)["200"]["headers"].keys()

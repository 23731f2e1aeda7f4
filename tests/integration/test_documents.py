"""The API documents against a running node: schemathesis, every example, events of a stream."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openapi_spec_validator
import pytest
from jsonschema import (  # type: ignore[import-untyped]
    Draft7Validator,
    Draft202012Validator,
)

from bench.harness import ROOT, NodeProcess, RedisProcess, WebhooksProcess
from tests.support.nodes import client_of
from tests.support.receiver import Receiver
from tests.support.stream_client import StreamClient
from tests.support.tokens import SECRET, signer

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx
    from playwright.sync_api import Browser

    from tests.support.nodes import StartNode

pytestmark = pytest.mark.integration

ASYNCAPI = Path(__file__).parent / "node_modules/@asyncapi/specs/schemas/3.0.0.json"
SCHEMATHESIS = str(Path(sys.executable).with_name("schemathesis"))

WEBHOOK = {"url": "https://8.8.8.8/hook", "events": ["order.paid"]}


@pytest.fixture
def document(http: httpx.Client) -> dict[str, Any]:
    answer: dict[str, Any] = http.get("/openapi.json").raise_for_status().json()
    return answer


def errors_of(document: dict[str, Any], schema: dict[str, Any], value: object) -> list[str]:
    whole = {**schema, "components": document["components"]}
    return [error.message for error in Draft202012Validator(whole).iter_errors(value)]


def test_the_document_is_openapi_3_2(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.2.0"
    openapi_spec_validator.validate(document)


@pytest.fixture
def empty_redis() -> Iterator[RedisProcess]:
    """A Redis without what other tests have left."""
    with RedisProcess() as process:
        yield process


def test_schemathesis_finds_nothing(
    start_node: StartNode, empty_redis: RedisProcess, tmp_path: Path
) -> None:
    node = start_node(redis=empty_redis)
    found = subprocess.run(
        [
            *(SCHEMATHESIS, "run", f"{node.url}/openapi.json", "--no-color", "--seed", "1"),
            *("--max-examples", "30", "--workers", "1", "--exclude-path-regex", "/events/sse"),
        ],  # streams have no end; all other tests are about them
        env={
            **os.environ,
            "SCHEMATHESIS_HOOKS": "tests.support.schemathesis_hooks",
            "PYTHONPATH": str(ROOT),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert found.returncode == 0, found.stdout


def test_every_example_is_answered_as_the_document_says(
    http: httpx.Client, document: dict[str, Any], user: str
) -> None:
    account = http.post("/accounts", json={"name": "n", "balance": 1, "userId": user}).json()
    webhook = http.post("/webhooks", json={**WEBHOOK, "userId": user}).json()
    asked = 0
    for path, item in document["paths"].items():
        for method, operation in item.items():
            contents = operation.get("requestBody", {}).get("content", {})
            for media_type, content in contents.items():
                answer = http.request(
                    method,
                    path.replace(
                        "{id}", str((webhook if path.startswith("/webhooks") else account)["id"])
                    ),
                    content=json.dumps(content["example"]),
                    headers={"Content-Type": media_type},
                )
                described = operation["responses"][str(answer.status_code)]
                assert answer.is_success, (path, answer.text)
                schema = described["content"]["application/json"]["schema"]
                assert errors_of(document, schema, answer.json()) == []
                asked += 1
    assert asked == 9


def test_answers_have_the_shapes_of_the_document(
    http: httpx.Client, document: dict[str, Any], user: str
) -> None:
    where = http.post("/accounts", json={"name": "n", "balance": 1.5, "userId": user}).headers
    account = where["location"]
    http.patch(account, json={"balance": 2}).raise_for_status()
    webhook = http.post("/webhooks", json={**WEBHOOK, "userId": user}).headers["location"]
    targets = {
        "/webhooks": f"/webhooks?userId={user}",
        "/webhooks/{id}": webhook,
        "/accounts": f"/accounts?userId={user}",
        "/accounts/{id}": account,
        "/accounts/{id}/events": f"{account}/events",
        "/events": f"/events?userId={user}",
        "/health/live": "/health/live",
        "/health/ready": "/health/ready",
        "/status": "/status",
    }
    for path, target in targets.items():
        answer = http.get(target)
        described = document["paths"][path]["get"]["responses"][str(answer.status_code)]
        schema = described["content"]["application/json"]["schema"]
        assert errors_of(document, schema, answer.json()) == []
        assert answer.json()
    problem = http.get("/accounts/999999999")
    described = document["components"]["responses"]["404"]["content"]
    schema = described[problem.headers["content-type"]]["schema"]
    assert errors_of(document, schema, problem.json()) == []


def test_a_node_with_tokens_and_limits_answers_as_its_document_says(
    start_node: StartNode, redis: RedisProcess, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_bytes(SECRET)
    tokens = ("--auth", "jwt", "--jwt-key", str(tmp_path / "secret"), "--auth-cookie", "session")
    limits = ("--requests-per-caller", "1", "--rate-window", "60")
    node = start_node(*tokens, *limits, redis=redis)
    document = node.get("/openapi.json").json()
    operation = document["paths"]["/accounts"]["get"]
    assert operation["security"] == [{"bearer": []}, {"cookie": []}]
    assert document["components"]["securitySchemes"]["cookie"]["name"] == "session"
    bearer = {"Authorization": f"Bearer {signer('HS256').token('ann')}"}
    with client_of(node) as client:
        answers = [client.get("/accounts", headers=headers) for headers in ({}, *[bearer] * 61)]
    statuses = {answer.status_code: answer for answer in answers}
    assert statuses.keys() == {200, 401, 429}
    for status, answer in statuses.items():
        described = operation["responses"][str(status)]
        described = document["components"]["responses"].get(str(status), described)
        media_type = answer.headers["content-type"].partition(";")[0]
        schema = described["content"][media_type]["schema"]
        assert errors_of(document, schema, answer.json()) == []
        special = {"ratelimit", "ratelimit-policy", "retry-after", "www-authenticate", "link"}
        sent = special & set(answer.headers)
        assert sent <= {name.lower() for name in described["headers"]}
    assert {"ratelimit", "ratelimit-policy"} <= set(statuses[200].headers)


def test_events_have_the_shapes_of_the_asyncapi_document(
    http: httpx.Client, node: NodeProcess, user: str
) -> None:
    document = http.get("/asyncapi.json").raise_for_status().json()
    on_streams = document["channels"]["stream"]["messages"]
    messages = {
        message["name"]: message["payload"]
        for key, message in document["components"]["messages"].items()
        if key in on_streams
    }
    with StreamClient(node.url, f"/events/sse/{user}", {"Last-Event-ID": "1-0"}) as stream:
        stream.wait_open()
        account = {"name": "n", "balance": 1, "userId": user}
        where = http.post("/accounts", json=account).headers["location"]
        stream.wait_for_type("snapshots.generated")
        http.patch(where, json={"balance": 2}).raise_for_status()
        http.delete(where).raise_for_status()
        stream.wait_for_type("account.deleted")
        heard = {event.type for event in stream.events}
        expected = messages.keys() - {"any", "ping", "sse.closed"}
        assert heard >= expected
        for event in stream.events:
            data = {name: value for name, value in event.json.items() if name != "eventType"}
            assert errors_of(document, messages[event.type], data) == []


def test_the_document_is_asyncapi_3_0(http: httpx.Client) -> None:
    validator = Draft7Validator(json.loads(ASYNCAPI.read_text("utf-8")))
    document = http.get("/asyncapi.json").raise_for_status().json()
    assert [error.message for error in validator.iter_errors(document)] == []
    del document["operations"]["sendToStream"]["action"]
    assert not validator.is_valid(document)


def test_messages_of_webhooks_have_the_shapes_of_both_documents(
    empty_redis: RedisProcess, user: str
) -> None:
    flags = ("--webhook-allow-http", "yes", "--webhook-allow-hosts", "127.0.0.0/8")
    with (
        NodeProcess("--redis-url", empty_redis.url, *flags) as node,
        client_of(node) as http,
        Receiver() as receiver,
        WebhooksProcess("--redis-url", empty_redis.url, *flags) as process,
    ):
        node.wait_ready()
        process.wait_ready()
        members = {"userId": user, "url": receiver.url("/hook"), "events": ["*"]}
        webhook = http.post("/webhooks", json=members).raise_for_status().headers["location"]
        http.post(f"{webhook}/test").raise_for_status()
        event = {"userId": user, "eventType": "order.paid", "data": [1]}
        http.post("/events", json=event).raise_for_status()
        requests = receiver.wait_for("/hook", 2)
        openapi, asyncapi = (http.get(f"/{name}api.json").json() for name in ("open", "async"))
    operation = openapi["webhooks"]["message"]["post"]
    (content,) = operation["requestBody"]["content"].values()
    messages = asyncapi["components"]["messages"]
    for key, request in zip(("webhookTest", "webhookEvent"), requests, strict=True):
        assert errors_of(openapi, content["schema"], request.json) == []
        assert errors_of(asyncapi, messages[key]["payload"], request.json) == []
        assert errors_of(asyncapi, messages[key]["headers"], request.headers) == []
        for header in operation["parameters"]:
            assert errors_of(openapi, header["schema"], request.headers[header["name"]]) == []
    assert errors_of(asyncapi, messages["webhookTest"]["payload"], requests[1].json) != []


@pytest.mark.browser
def test_the_reference_page_is_clean(browser: Browser, node: NodeProcess) -> None:
    with browser.new_context(color_scheme="dark") as context:
        page = context.new_page()
        refused: list[str] = []
        page.on("console", lambda message: refused.append(message.text))
        for width in (360, 1280):
            page.set_viewport_size({"width": width, "height": 800})
            page.goto(f"{node.url}/docs/api")
            assert page.get_by_role("heading", name="POST /events").count() == 1
            wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
            assert page.evaluate(wide) is False
        page.get_by_role("link", name="Accounts").first.click()
        assert page.url.endswith("#Accounts")
        assert refused == []

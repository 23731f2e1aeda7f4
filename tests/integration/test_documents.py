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
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from bench.harness import ROOT
from tests.support.stream_client import StreamClient

if TYPE_CHECKING:
    import httpx
    from playwright.sync_api import Browser

    from bench.harness import NodeProcess, RedisProcess
    from tests.support.nodes import StartNode

pytestmark = pytest.mark.integration

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


def test_schemathesis_finds_nothing(
    start_node: StartNode, redis: RedisProcess, tmp_path: Path
) -> None:
    node = start_node(redis=redis)
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


def test_events_have_the_shapes_of_the_asyncapi_document(
    http: httpx.Client, node: NodeProcess, user: str
) -> None:
    document = http.get("/asyncapi.json").raise_for_status().json()
    assert document["asyncapi"] == "3.0.0"
    messages = {
        message["name"]: message["payload"]
        for message in document["components"]["messages"].values()
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

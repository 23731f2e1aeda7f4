"""The routes of webhooks: what they take, answer and keep."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from sse_node.webhooks.secrets import is_secret
from tests.support.nodes import client_of

if TYPE_CHECKING:
    import httpx
    from redis import Redis

    from bench.harness import RedisProcess
    from tests.support.nodes import StartNode

pytestmark = pytest.mark.integration

URL = "https://8.8.8.8/hook"
SECRET = "whsec_" + "A" * 43 + "="


def create(http: httpx.Client, user: str, **members: object) -> dict[str, Any]:
    answer = http.post("/webhooks", json={"url": URL, "events": ["t"], "userId": user, **members})
    assert answer.status_code == 201, answer.text
    created: dict[str, Any] = answer.json()
    return created


@pytest.mark.parametrize("route", ["/webhooks", "/webhooks/register"])
def test_a_created_webhook_has_an_id_and_a_secret_shown_once(
    http: httpx.Client, user: str, route: str
) -> None:
    events = ["snapshots.generated", "order.paid", "order.paid"]
    answer = http.post(route, json={"url": URL, "events": events, "userId": user})
    webhook = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/webhooks/{webhook['id']}"
    assert is_secret(webhook.pop("secret"))
    assert webhook["events"] == ["snapshots.generated", "order.paid"]
    assert webhook["enabled"] is True
    assert webhook["userId"] == user
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", webhook["createdAt"])
    assert http.get(f"/webhooks/{webhook['id']}").json() == webhook
    assert http.get("/webhooks", params={"userId": user}).json() == [webhook]


def test_a_secret_of_the_clients_own(http: httpx.Client, user: str) -> None:
    assert create(http, user, secret=SECRET)["secret"] == SECRET


def test_without_a_user_it_is_the_default_users(http: httpx.Client) -> None:
    webhook = http.post("/webhooks", json={"url": URL, "events": ["*"]}).json()
    assert webhook["userId"] == "123"
    http.delete(f"/webhooks/{webhook['id']}").raise_for_status()


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"url": "http://8.8.8.8/"}, "content: url: expected https"),
    ({"url": "https://127.1/"}, "content: url: 127.1 leads to 127.0.0.1, which is not public"),
    ({"url": "https://0x7f.1/"}, "content: url: 0x7f.1 leads to 127.0.0.1, which is not public"),
    ({"url": "https://2130706433/"}, "leads to 127.0.0.1, which is not public"),
    ({"url": "https://[::ffff:127.0.0.1]/"}, "which is not public"),
    ({"url": "https://8.8.8.8:22/"}, "content: url: port 22 is not allowed"),
    ({"url": 1}, "content: url: expected a string, got a number"),
    ({"events": []}, "content: events: expected an array with a length of at least 1"),
    ({"events": "t"}, "content: events: expected an array, got a string"),
    ({"events": ["ping"]}, "content: events: 'ping': expected"),
    ({"events": ["a b"]}, "content: events: 'a b': expected"),
    ({"events": ["order.*"]}, "content: events: 'order.*': expected"),
    ({"secret": "whsec_short"}, "content: secret: expected whsec_ and 24 to 64 bytes"),
    ({"secret": ""}, "content: secret: expected whsec_ and 24 to 64 bytes"),
    ({"userId": "a b"}, "content: userId 'a b': expected"),
]


@pytest.mark.parametrize(("members", "detail"), WRONG, ids=lambda value: str(value)[:40])
def test_what_is_wrong_is_named(
    http: httpx.Client, user: str, members: dict[str, Any], detail: str
) -> None:
    content = {"url": URL, "events": ["t"], "userId": user, **members}
    answer = http.post("/webhooks", json=content)
    assert answer.status_code == 422
    assert detail in answer.json()["detail"]
    path = f"/webhooks/{create(http, user)['id']}"
    if "userId" not in members:
        answer = http.patch(path, json=members)
        assert answer.status_code == 422
        assert detail in answer.json()["detail"]


def test_a_name_that_leads_nowhere_as_yet_is_accepted(http: httpx.Client, user: str) -> None:
    create(http, user, url="https://nowhere.invalid/")


def test_changes(http: httpx.Client, user: str) -> None:
    webhook = create(http, user)
    path = f"/webhooks/{webhook['id']}"
    url = "https://1.1.1.1:8443/other"
    changed = http.patch(path, json={"url": url, "events": ["*"]}).json()
    assert (changed["url"], changed["events"]) == (url, ["*"])
    assert "secret" not in changed
    paused = http.patch(path, json={"enabled": False}).json()
    assert (paused["enabled"], paused["disabledReason"]) == (False, "request")
    resumed = http.patch(path, json={"enabled": True}).json()
    assert (resumed["enabled"], resumed["disabledReason"]) == (True, None)
    assert http.get(path).json() == resumed
    assert http.patch(path, json={}).status_code == 422


def test_a_secret_is_rotated(http: httpx.Client, user: str, publisher: Redis) -> None:
    webhook = create(http, user)
    path = f"/webhooks/{webhook['id']}"
    rotated = http.patch(path, json={"rotateSecret": True}).json()["secret"]
    assert is_secret(rotated)
    assert rotated != webhook["secret"]
    kept: Any = publisher.hgetall(f"sse:webhook:{webhook['id']}")
    assert kept[b"old_secret"].decode() == webhook["secret"]
    assert http.patch(path, json={"secret": SECRET}).json()["secret"] == SECRET
    assert "secret" not in http.get(path).json()


def test_what_is_deleted_is_gone(http: httpx.Client, user: str, publisher: Redis) -> None:
    webhook = create(http, user)
    path = f"/webhooks/{webhook['id']}"
    http.post(f"{path}/test").raise_for_status()
    waiting = publisher.hget("sse:webhooks-state", "bytes")
    assert http.delete(path).status_code == 204
    for method in ("GET", "PATCH", "DELETE"):
        content = {"enabled": True} if method == "PATCH" else None
        assert http.request(method, path, json=content).status_code == 404
    for part, method in (("test", "POST"), ("deliveries", "GET"), ("dead-letters", "GET")):
        assert http.request(method, f"{path}/{part}").status_code == 404
    assert http.get("/webhooks", params={"userId": user}).json() == []
    assert list(publisher.scan_iter(f"*{webhook['id']}*")) == []
    assert publisher.zscore("sse:webhooks-due", webhook["id"]) is None
    assert int(publisher.hget("sse:webhooks-state", "bytes") or 0) < int(waiting or 0)


@pytest.mark.parametrize("webhook_id", ["1", "wh_", "wh_" + "0" * 24, "wh_" + "G" * 24, "%2e%2e"])
def test_an_unknown_id(http: httpx.Client, webhook_id: str) -> None:
    assert http.get(f"/webhooks/{webhook_id}").status_code == 404


def test_a_repeated_request_creates_one(http: httpx.Client, user: str) -> None:
    headers = {"Idempotency-Key": f"key {user}"}
    content = {"url": URL, "events": ["t"], "userId": user}
    first, second = (http.post("/webhooks", json=content, headers=headers) for _ in range(2))
    alias = http.post("/webhooks/register", json=content, headers=headers)
    assert first.json() == second.json() == alias.json()
    assert len(http.get("/webhooks", params={"userId": user}).json()) == 1
    other = http.post("/webhooks", json={**content, "events": ["u"]}, headers=headers)
    assert other.status_code == 422
    elsewhere = http.post("/webhooks", json={**content, "userId": f"{user}-2"}, headers=headers)
    assert elsewhere.status_code == 201
    assert elsewhere.json()["id"] != first.json()["id"]


def test_a_test_message_waits(http: httpx.Client, user: str) -> None:
    path = f"/webhooks/{create(http, user)['id']}"
    answer = http.post(f"{path}/test")
    assert answer.status_code == 202
    assert re.fullmatch(r"\d+-test-[0-9a-f]{8}", answer.json()["id"])
    assert http.get(path).json()["queued"] == 1
    http.patch(path, json={"enabled": False}).raise_for_status()
    assert http.post(f"{path}/test").status_code == 409
    assert http.get(f"{path}/deliveries").json() == []


def test_dead_letters_are_shown_and_replayed(
    http: httpx.Client, user: str, publisher: Redis
) -> None:
    webhook_id = create(http, user)["id"]
    path = f"/webhooks/{webhook_id}"
    for number in (1, 2):
        message = f'{{"id":"{number}-1","eventType":"t","data":{{"x":1}}}}'
        letter = f'{{"failedAt":"x","attempts":8,"error":"e,\\"message\\":","message":{message}}}'
        publisher.rpush(f"sse:webhook-dead-letters:{webhook_id}", letter)
    shown = http.get(f"{path}/dead-letters").json()
    assert [letter["message"]["id"] for letter in shown] == ["1-1", "2-1"]
    assert http.get(path).json()["deadLetters"] == 2
    replay = f"{path}/dead-letters/replay"
    assert http.post(replay, params={"messageId": "3-1"}).json() == {"replayed": 0}
    assert http.post(replay, params={"messageId": "2-1"}).json() == {"replayed": 1}
    assert http.post(replay).json() == {"replayed": 1}
    assert http.get(path).json()["queued"] == 2
    queue = publisher.lrange(f"sse:webhook-queue:{webhook_id}", 0, -1)
    assert queue == [b'{"id":"%d-1","eventType":"t","data":{"x":1}}' % n for n in (2, 1)]
    assert http.post(replay, params={"messageId": "*"}).status_code == 400


def test_a_user_has_so_many(start_node: StartNode, redis: RedisProcess) -> None:
    flags = ("--webhooks-per-user", "2", "--namespace", "few")
    with client_of(start_node(*flags, redis=redis)) as http:
        for _ in range(2):
            create(http, "ann")
        content = {"url": URL, "events": ["t"], "userId": "ann"}
        assert http.post("/webhooks", json=content).status_code == 409
        create(http, "bob")


def test_the_log_keeps_its_name(http: httpx.Client, user: str, publisher: Redis) -> None:
    before: Any = publisher.xinfo_groups("sse:log")
    create(http, user)
    after: Any = publisher.xinfo_groups("sse:log")
    names = [group["name"] for group in before if group["name"] != b"webhooks"]
    assert sorted(group["name"] for group in after) == sorted([*names, b"webhooks"])
    event = {"userId": user, "eventType": "t", "data": 1}
    assert http.post("/events", json=event).status_code == 202
    assert publisher.xinfo_groups("sse:log")[0]["name"] == names[0]

"""Accounts over HTTP, and the events that each change brings to the user's streams."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.stream_client import StreamClient

if TYPE_CHECKING:
    import httpx

    from bench.harness import NodeProcess

pytestmark = pytest.mark.integration


def create(http: httpx.Client, user: str, **members: object) -> dict[str, Any]:
    account = {"name": "Harbour fund", "balance": 100, "userId": user, **members}
    answer = http.post("/accounts", json=account)
    assert answer.status_code == 201, answer.text
    created: dict[str, Any] = answer.json()
    return created


def test_created_account_is_answered_whole(http: httpx.Client, user: str) -> None:
    answer = http.post("/accounts", json={"name": "Åse & 日本", "balance": 12.5, "userId": user})
    account = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/accounts/{account['id']}"
    assert list(account) == ["id", "name", "balance", "userId", "createdAt"]
    assert isinstance(account["id"], int)
    assert account["name"] == "Åse & 日本"
    assert account["balance"] == 12.5
    assert account["userId"] == user
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", account["createdAt"])
    assert http.get(answer.headers["location"]).json() == account


def test_ids_rise(http: httpx.Client, user: str) -> None:
    first, second = create(http, user), create(http, user)
    assert second["id"] > first["id"]


def test_account_without_user_is_the_default_users(http: httpx.Client) -> None:
    account = http.post("/accounts", json={"name": "Mill", "balance": 0}).json()
    assert account["userId"] == "123"
    assert account in http.get("/accounts").json()


@pytest.mark.parametrize(
    ("sent", "stored"),
    [("1", "1"), ("1.0", "1"), ("-0.5", "-0.5"), ("1e3", "1000"), ("9007199254740991",) * 2],
)
def test_balance_keeps_its_value(http: httpx.Client, user: str, sent: str, stored: str) -> None:
    content = f'{{"name":"n","balance":{sent},"userId":"{user}"}}'
    answer = http.post(
        "/accounts", content=content, headers={"content-type": "application/json; charset=UTF-8"}
    )
    assert f'"balance":{stored},' in answer.text
    assert f'"balance":{stored},' in http.get(answer.headers["location"]).text


def test_creation_brings_both_events_in_order(
    http: httpx.Client, node: NodeProcess, user: str
) -> None:
    with StreamClient(node.url, f"/events/sse/{user}") as stream:
        stream.wait_open()
        account = create(http, user)
        created = stream.wait_for_type("account.created")
        finished = stream.wait_for_type("snapshots.generated")
    assert created.json == {
        "eventType": "account.created",
        "accountId": account["id"],
        "account": account,
    }
    assert finished.json["snapshotCount"] == 1
    assert finished.json["serverId"] in {"node-1", "node-2"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]{12}Z", finished.json["timestamp"])
    assert [event.type for event in stream.published()] == [
        "account.created",
        "snapshots.generated",
    ]


def test_accounts_are_listed_in_the_order_of_their_ids(http: httpx.Client, user: str) -> None:
    accounts = [create(http, user, name=f"account {number}") for number in range(12)]
    assert http.get("/accounts", params={"userId": user}).json() == accounts
    page = {"userId": user, "limit": "5", "after": str(accounts[3]["id"])}
    assert http.get("/accounts", params=page).json() == accounts[4:9]


def test_a_full_page_links_the_next_one(http: httpx.Client, user: str) -> None:
    name = f"a.b@c:{user}"
    accounts = [create(http, name, name=f"account {number}") for number in range(7)]
    answer = http.get("/accounts", params={"userId": name, "limit": "3"})
    pages = [answer.json()]
    while "next" in answer.links:
        answer = http.get(answer.links["next"]["url"])
        pages.append(answer.json())
    assert pages == [accounts[:3], accounts[3:6], accounts[6:]]


def test_a_page_has_100_accounts_by_default(http: httpx.Client, user: str) -> None:
    accounts = [create(http, user) for _ in range(101)]
    answer = http.get("/accounts", params={"userId": user})
    assert answer.json() == accounts[:100]
    assert http.get(answer.links["next"]["url"]).json() == accounts[100:]
    assert http.get("/accounts", params={"userId": user, "limit": "1000"}).json() == accounts


def test_changed_name_and_balance(http: httpx.Client, node: NodeProcess, user: str) -> None:
    account = create(http, user)
    at = f"/accounts/{account['id']}"
    with StreamClient(node.url, f"/events/sse/{user}") as stream:
        stream.wait_open()
        answer = http.patch(at, json={"name": "Quarry", "balance": 75.25})
        updated = stream.wait_for_type("account.updated")
        moved = stream.wait_for_type("balance.changed")
    assert answer.status_code == 200
    assert answer.json() == {**account, "name": "Quarry", "balance": 75.25}
    assert http.get(at).json() == answer.json()
    assert updated.json == {
        "eventType": "account.updated",
        "accountId": account["id"],
        "changes": {"name": "Quarry", "balance": 75.25},
    }
    assert moved.json == {
        "eventType": "balance.changed",
        "accountId": account["id"],
        "from": 100,
        "to": 75.25,
    }


def test_balance_that_does_not_move_is_no_change(
    http: httpx.Client, node: NodeProcess, user: str
) -> None:
    with StreamClient(node.url, f"/events/sse/{user}") as stream:
        stream.wait_open()
        at = f"/accounts/{create(http, user, balance=100)['id']}"
        http.patch(at, json={"balance": 100.0}).raise_for_status()
        http.patch(at, json={"name": "Quarry"}).raise_for_status()
        http.delete(at).raise_for_status()
        stream.wait_for_type("account.deleted")
    types = [event.type for event in stream.published() if event.type != "snapshots.generated"]
    assert types == ["account.created", "account.updated", "account.updated", "account.deleted"]


def test_deleted_account_is_gone(http: httpx.Client, node: NodeProcess, user: str) -> None:
    account = create(http, user)
    kept = create(http, user)
    at = f"/accounts/{account['id']}"
    with StreamClient(node.url, f"/events/sse/{user}") as stream:
        stream.wait_open()
        answer = http.delete(at)
        deleted = stream.wait_for_type("account.deleted")
    assert answer.status_code == 204
    assert answer.content == b""
    assert deleted.json == {"eventType": "account.deleted", "accountId": account["id"]}
    for again in (http.get(at), http.delete(at), http.patch(at, json={"name": "n"})):
        assert again.status_code == 404
        assert str(account["id"]) in again.json()["detail"]
    assert http.get("/accounts", params={"userId": user}).json() == [kept]


@pytest.mark.parametrize("account_id", ["0", "999999999", "-1", "abc", "1e3", "\uff19", "1" * 40])
def test_account_that_is_not_there(http: httpx.Client, account_id: str) -> None:
    answer = http.get(f"/accounts/{account_id}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_retry_with_the_same_key_creates_nothing(
    http: httpx.Client, node: NodeProcess, user: str
) -> None:
    account = {"name": "Once", "balance": 1, "userId": user}
    key = {"Idempotency-Key": f"key of {user}"}
    with StreamClient(node.url, f"/events/sse/{user}") as stream:
        stream.wait_open()
        first = http.post("/accounts", json=account, headers=key)
        again = http.post("/accounts", json=account, headers=key)
        other = http.post("/accounts", json={**account, "balance": 2}, headers=key)
        http.delete(first.headers["location"]).raise_for_status()
        stream.wait_for_type("account.deleted")
    assert first.status_code == again.status_code == 201
    assert first.json() == again.json()
    assert other.status_code == 422
    assert "Idempotency-Key" in other.json()["detail"]
    assert [event.type for event in stream.published()].count("account.created") == 1

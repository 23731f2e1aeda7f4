"""What is refused of an account, before anything is asked of Redis."""

import pytest

from sse_node.api.accounts import Accounts
from sse_node.errors import RequestError
from sse_node.redis.commands import RedisCommands
from sse_node.redis.event_log import EventLog
from sse_node.redis.event_logs import EventLogs
from sse_node.wire.http_head import Request

HEADERS = {b"content-type": b"application/json"}
BALANCE = "content: balance: expected a finite number, integers within ±(2^53-1)"


@pytest.fixture
def accounts(no_redis: RedisCommands) -> Accounts:
    return Accounts(EventLogs([EventLog(no_redis, 100)]), "123", lambda: "2025-08-26T03:44:57.419Z")


def patch_of(content: bytes, account_id: str = "1") -> Request:
    return Request("PATCH", "/accounts/1", "", HEADERS, content, {"id": account_id})


WRONG_MEMBERS = [
    (b'"name":""', "content: name: expected a string with a length of at least 1"),
    (
        b'"name":"' + b"x" * 257 + b'"',
        "content: name: expected a string with a length of at most 256",
    ),
    (b'"name":null', "content: name: expected a string, got null"),
    (b'"name":1', "content: name: expected a string, got a number"),
    (b'"balance":"1"', "content: balance: expected a number, got a string"),
    (b'"balance":true', "content: balance: expected a number, got true or false"),
    (b'"balance":null', "content: balance: expected a number, got null"),
    (b'"balance":1e999', "content: balance: the number is out of range"),
    (b'"balance":9007199254740992', BALANCE),
    (b'"balance":-9007199254740992', BALANCE),
    (b'"balance":' + b"9" * 400, BALANCE),
    (b'"balance":-' + b"9" * 4000, BALANCE),
]


@pytest.mark.parametrize(("member", "detail"), WRONG_MEMBERS, ids=lambda value: value[:40])
async def test_wrong_member_is_named(accounts: Accounts, member: bytes, detail: str) -> None:
    name, _, _ = member.partition(b":")
    others = [other for other in (b'"name":"a"', b'"balance":1') if not other.startswith(name)]
    content = b"{%b}" % b",".join([*others, member])
    with pytest.raises(RequestError) as created:
        await accounts.create(Request("POST", "/accounts", "", HEADERS, content))
    with pytest.raises(RequestError) as updated:
        await accounts.update(patch_of(b"{%b}" % member))
    for caught in (created, updated):
        assert (caught.value.status, caught.value.detail) == (422, detail)


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        (b"{}", "content: name is missing"),
        (b'{"name":"a"}', "content: balance is missing"),
        (
            b'{"name":"a","balance":1,"userId":"a b"}',
            "content: userId 'a b': expected 1 to 255 printable",
        ),
        (
            b'{"name":"a","balance":1,"userId":1}',
            "content: userId: expected a string, got a number",
        ),
        (b"[]", "content: expected an object, got an array"),
    ],
)
async def test_account_is_not_created(accounts: Accounts, content: bytes, detail: str) -> None:
    with pytest.raises(RequestError) as caught:
        await accounts.create(Request("POST", "/accounts", "", HEADERS, content))
    assert caught.value.status == 422
    assert caught.value.detail.startswith(detail)


@pytest.mark.parametrize("content", [b"{}", b'{"userId":"2"}'])
async def test_change_of_nothing_is_refused(accounts: Accounts, content: bytes) -> None:
    with pytest.raises(RequestError, match="content: expected name, balance, or both") as caught:
        await accounts.update(patch_of(content))
    assert caught.value.status == 422


@pytest.mark.parametrize("account_id", ["a", "-1", "1.0", "", " 1", "\u0663", "\u00b2", "9" * 17])
async def test_what_is_no_id_is_no_account(accounts: Accounts, account_id: str) -> None:
    request = patch_of(b'{"balance":1}', account_id)
    for method in (accounts.get, accounts.update, accounts.delete):
        with pytest.raises(RequestError, match="no account has this id") as caught:
            await method(request)
        assert caught.value.status == 404
        assert len(caught.value.detail) < 100


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "after=-1", "userId=a%20b"])
async def test_list_is_bounded(accounts: Accounts, query: str) -> None:
    with pytest.raises(RequestError) as caught:
        await accounts.list(Request("GET", "/accounts", query, {}))
    assert caught.value.status == 400

"""What clients send that cannot be right: answered with 4xx, and a detail that names what it is."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest

from tests.support.stream_client import StreamClient

if TYPE_CHECKING:
    import httpx

    from bench.harness import NodeProcess

pytestmark = pytest.mark.integration

DEPTH = 20_000
JSON = "application/json"

# (id, status, what the detail names, content of POST /accounts)
ACCOUNTS = [
    ("empty", 400, "JSON", b""),
    ("cut-off", 400, "JSON", b'{"name":"n","balance":'),
    ("two-values", 400, "JSON", b'{"name":"n","balance":1}{}'),
    ("trailing-comma", 400, "JSON", b'{"name":"n","balance":1,}'),
    ("leading-zero", 400, "JSON", b'{"name":"n","balance":01}'),
    ("line-break-in-text", 400, "JSON", b'{"name":"a\nb","balance":1}'),
    ("byte-order-mark", 400, "BOM", b'\xef\xbb\xbf{"name":"n","balance":1}'),
    ("utf-16", 400, "UTF-8", '{"name":"n","balance":1}'.encode("utf-16")),
    ("latin-1", 400, "byte 9", b'{"name":"\xe5","balance":1}'),
    ("lone-surrogate", 400, "surrogate", b'{"name":"\\ud800","balance":1}'),
    ("nan", 400, "'balance'", b'{"name":"n","balance":NaN}'),
    ("infinity", 400, "'balance'", b'{"name":"n","balance":-Infinity}'),
    ("twice", 400, "'balance'", b'{"name":"n","balance":1,"balance":2}'),
    ("twice-inside", 400, "'y'", b'{"name":"n","balance":1,"x":[{"y":1,"y":2}]}'),
    ("too-deep", 400, "deep", b'{"x":%b1%b}' % (b"[" * DEPTH, b"]" * DEPTH)),
    ("array", 422, "object", b"[]"),
    ("null", 422, "object", b"null"),
    ("no-name", 422, "name", b'{"balance":1}'),
    ("no-balance", 422, "balance", b'{"name":"n"}'),
    ("name-number", 422, "name", b'{"name":1,"balance":1}'),
    ("name-null", 422, "name", b'{"name":null,"balance":1}'),
    ("name-empty", 422, "name", b'{"name":"","balance":1}'),
    ("name-too-long", 422, "name", b'{"name":"%b","balance":1}' % (b"x" * 257)),
    ("balance-text", 422, "balance", b'{"name":"n","balance":"1"}'),
    ("balance-bool", 422, "balance", b'{"name":"n","balance":true}'),
    ("balance-null", 422, "balance", b'{"name":"n","balance":null}'),
    ("balance-list", 422, "balance", b'{"name":"n","balance":[1]}'),
    ("balance-endless", 422, "balance", b'{"name":"n","balance":1e999}'),
    ("balance-inexact", 422, "balance", b'{"name":"n","balance":9007199254740992}'),
    ("balance-long", 422, "balance", b'{"name":"n","balance":1%b}' % (b"0" * 4000)),
    ("balance-too-long", 422, "balance", b'{"name":"n","balance":1%b}' % (b"0" * 9000)),
    ("user-number", 422, "userId", b'{"name":"n","balance":1,"userId":5}'),
    ("user-null", 422, "userId", b'{"name":"n","balance":1,"userId":null}'),
    ("user-bool", 422, "userId", b'{"name":"n","balance":1,"userId":true}'),
    ("user-empty", 422, "userId", b'{"name":"n","balance":1,"userId":""}'),
    ("user-blank", 422, "userId", b'{"name":"n","balance":1,"userId":"a b"}'),
    ("user-too-long", 422, "userId", b'{"name":"n","balance":1,"userId":"%b"}' % (b"x" * 256)),
]

# (id, status, what the detail names, content of POST /events)
EVENTS = [
    ("empty-array", 422, "length", b"[]"),
    ("number", 422, "object", b"5"),
    ("no-event-type", 422, "eventType", b'{"userId":"1","data":1}'),
    ("no-data", 422, "data", b'{"userId":"1","eventType":"t"}'),
    ("nobody", 422, "userId or channel", b'{"eventType":"t","data":1}'),
    (
        "user-and-channel",
        422,
        "userId or channel",
        b'{"userId":"1","channel":"system-events","eventType":"t","data":1}',
    ),
    ("user-number", 422, "userId", b'{"userId":1,"eventType":"t","data":1}'),
    ("user-line-break", 422, "userId", b'{"userId":"1\\n","eventType":"t","data":1}'),
    ("channel-number", 422, "channel", b'{"channel":1,"eventType":"t","data":1}'),
    ("channel-unknown", 422, "channel 'x'", b'{"channel":"x","eventType":"t","data":1}'),
    ("channel-of-users", 422, "user-events", b'{"channel":"user-events","eventType":"t","data":1}'),
    ("type-number", 422, "eventType", b'{"userId":"1","eventType":1,"data":1}'),
    ("type-empty", 422, "eventType", b'{"userId":"1","eventType":"","data":1}'),
    ("type-open", 422, "'open'", b'{"userId":"1","eventType":"open","data":1}'),
    ("type-error", 422, "'error'", b'{"userId":"1","eventType":"error","data":1}'),
    ("type-message", 422, "'message'", b'{"userId":"1","eventType":"message","data":1}'),
    ("type-reserved", 422, "'sse.open'", b'{"userId":"1","eventType":"sse.open","data":1}'),
    ("type-line-break", 422, "eventType", b'{"userId":"1","eventType":"t\\ndata: x","data":1}'),
    ("nan", 400, "'data'", b'{"userId":"1","eventType":"t","data":NaN}'),
    ("nan-inside", 400, "'b'", b'{"userId":"1","eventType":"t","data":{"b":[1,NaN]}}'),
    ("twice", 400, "'userId'", b'{"userId":"1","userId":"2","eventType":"t","data":1}'),
    ("lone-surrogate", 400, "JSON", b'{"userId":"1","eventType":"t","data":"\\udfff"}'),
    ("second-no-object", 422, "[1]", b'[{"userId":"1","eventType":"t","data":1},5]'),
    ("second-no-data", 422, "[1]", b'[{"userId":"1","eventType":"t","data":1},{"userId":"1"}]'),
]

# (id, what the detail names, headers)
HEADERS = [
    ("no-type", "Content-Type", {}),
    ("form", "Content-Type", {"Content-Type": "application/x-www-form-urlencoded"}),
    ("text", "text/plain", {"Content-Type": "text/plain"}),
    ("almost-json", "application/jsonp", {"Content-Type": "application/jsonp"}),
    ("charset", "charset", {"Content-Type": f"{JSON}; charset=utf-16"}),
    ("gzip", "Content-Encoding", {"Content-Type": JSON, "Content-Encoding": "gzip"}),
    ("unknown-coding", "Content-Encoding", {"Content-Type": JSON, "Content-Encoding": "x-none"}),
]


def expect_problem(answer: httpx.Response, status: int, names: str) -> None:
    """A problem of RFC 9457 with its four members, and nothing internal in its detail."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert list(problem) == ["type", "title", "status", "detail"]
    assert problem["type"] == "about:blank"
    assert problem["title"] == answer.reason_phrase
    assert problem["status"] == status
    assert names in problem["detail"]
    assert len(problem["detail"]) < 400
    for internal in ("Traceback", "sse_node", "msgspec", ".py", "Struct"):
        assert internal not in problem["detail"]


@pytest.mark.parametrize(
    ("status", "names", "content"), [pytest.param(*case[1:], id=case[0]) for case in ACCOUNTS]
)
def test_content_of_accounts(http: httpx.Client, status: int, names: str, content: bytes) -> None:
    answer = http.post("/accounts", content=content, headers={"Content-Type": JSON})
    expect_problem(answer, status, names)


@pytest.mark.parametrize(
    ("status", "names", "content"), [pytest.param(*case[1:], id=case[0]) for case in EVENTS]
)
def test_content_of_events(http: httpx.Client, status: int, names: str, content: bytes) -> None:
    answer = http.post("/events", content=content, headers={"Content-Type": JSON})
    expect_problem(answer, status, names)


@pytest.mark.parametrize("target", ["/accounts", "/events"])
@pytest.mark.parametrize(
    ("names", "headers"), [pytest.param(*case[1:], id=case[0]) for case in HEADERS]
)
def test_unknown_type_or_coding(
    http: httpx.Client, target: str, names: str, headers: dict[str, str]
) -> None:
    content = gzip.compress(b"{}") if "Content-Encoding" in headers else b"{}"
    answer = http.post(target, content=content, headers=headers)
    expect_problem(answer, 415, names)


def test_identity_is_a_known_coding(http: httpx.Client, user: str) -> None:
    headers = {"Content-Type": "Application/JSON ; charset=UTF-8", "Content-Encoding": "identity"}
    content = f'{{"name":"n","balance":1,"userId":"{user}"}}'
    assert http.post("/accounts", content=content, headers=headers).status_code == 201


@pytest.mark.parametrize(
    ("names", "content"),
    [
        ("name, balance", b"{}"),
        ("name, balance", b'{"userId":"9"}'),
        ("name", b'{"name":1}'),
        ("balance", b'{"balance":null}'),
        ("balance", b'{"balance":1e999}'),
    ],
)
def test_changes_of_an_account(http: httpx.Client, user: str, names: str, content: bytes) -> None:
    account = {"name": "n", "balance": 1, "userId": user}
    target = http.post("/accounts", json=account).raise_for_status().headers["location"]
    answer = http.patch(target, content=content, headers={"Content-Type": JSON})
    expect_problem(answer, 422, names)
    assert http.get(target).json().items() >= account.items()


@pytest.mark.parametrize("target", ["/accounts", "/snapshots"])
@pytest.mark.parametrize(
    ("names", "query"),
    [
        ("limit", "limit=0"),
        ("limit", "limit=1001"),
        ("limit", "limit=1e2"),
        ("limit", "limit=" + "9" * 40),
        ("userId", "userId="),
        ("userId", "userId=a%20b"),
        ("query", "userId=%ff"),
        ("query", "&".join(f"a{n}=1" for n in range(40))),
    ],
)
def test_parameters(http: httpx.Client, target: str, names: str, query: str) -> None:
    expect_problem(http.get(f"{target}?{query}"), 400, names)


def test_content_over_64_kib_is_refused(http: httpx.Client, user: str) -> None:
    account = {"name": "n", "balance": 1, "userId": user, "pad": "x" * 64 * 1024}
    expect_problem(http.post("/accounts", json=account), 413, str(64 * 1024))


def test_nothing_of_all_this_reached_anybody(
    http: httpx.Client, node: NodeProcess, user: str
) -> None:
    cases = [("/accounts", case[3]) for case in ACCOUNTS] + [
        ("/events", case[3]) for case in EVENTS
    ]
    with StreamClient(node.url, "/events/sse/1?channels=analytics-events") as stream:
        stream.wait_open()
        for target, content in cases:
            headers = {"Content-Type": JSON}
            assert http.post(target, content=content, headers=headers).is_client_error
        last = {"userId": "1", "eventType": "last", "data": user}
        http.post("/events", json=last).raise_for_status()
        stream.wait_for_type("last")
    assert [event.type for event in stream.published()] == ["last"]
    assert not [line for line in node.log if "Traceback" in line or " error " in line]

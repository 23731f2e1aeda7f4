"""Parameters that several resources take."""

import pytest

from sse_node.api.parameters import (
    bounded_parameter,
    check_user,
    idempotency_key_of,
    query_of,
    user_of,
)
from sse_node.errors import RequestError
from sse_node.wire.http_head import Request
from sse_node.wire.identity import READ_ACCOUNTS, Identity


def request_of(query: str = "", **headers: bytes) -> Request:
    fields = {name.replace("_", "-").encode(): value for name, value in headers.items()}
    return Request("GET", "/", query, fields)


@pytest.mark.parametrize("key", [b"a", b"8e03978e-40d5-43dd-bc93-6894a57f9324", b"a b", b"x" * 255])
def test_idempotency_key(key: bytes) -> None:
    assert idempotency_key_of(request_of(idempotency_key=key)) == key.decode()


def test_request_without_an_idempotency_key_has_an_empty_one() -> None:
    assert idempotency_key_of(request_of()) == ""


@pytest.mark.parametrize(
    "key", [b"", b"x" * 256, b"\xfc", b"a\tb"], ids=["empty", "long", "not ASCII", "tab"]
)
def test_idempotency_key_is_refused(key: bytes) -> None:
    with pytest.raises(RequestError, match="expected 1 to 255 printable ASCII") as caught:
        idempotency_key_of(request_of(idempotency_key=key))
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("query", "user"),
    [
        ("", "123"),
        ("userId=7", "7"),
        ("userId=ann%40example.com", "ann@example.com"),
        ("userId=ann%2Bx@example.com", "ann+x@example.com"),
        ("userId=%2531", "%31"),
        ("access_token=t", "123"),
    ],
)
def test_user_of_a_query(query: str, user: str) -> None:
    request = request_of(query)
    assert user_of(request, query_of(request, "userId"), "123", READ_ACCOUNTS) == user


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("userid=ann", "query: 'userid': expected one of userId, limit"),
        ("userId=ann&%75ser=bob", "query: 'user': expected one of userId, limit"),
        ("x" * 1000, "query: '" + "x" * 39 + ": expected one of userId, limit"),
        ("userId=ann&userId=ann", "query: userId: expected once"),
        ("limit=1&userId=&limit=2", "query: limit: expected once"),
    ],
    ids=["misspelt", "a second one", "long", "repeated", "another one between"],
)
def test_unknown_or_repeated_parameter_is_refused(query: str, detail: str) -> None:
    with pytest.raises(RequestError) as caught:
        query_of(request_of(query), "userId", "limit")
    assert (caught.value.status, caught.value.detail) == (400, detail)


def test_request_that_takes_no_query() -> None:
    assert query_of(request_of("")) == query_of(request_of("&")) == {}
    with pytest.raises(RequestError, match="query: 'userId': expected no query"):
        query_of(request_of("userId=ann"))


@pytest.mark.parametrize("user", ["", "a b", "x" * 256])
def test_user_of_a_query_is_refused(user: str) -> None:
    with pytest.raises(RequestError, match=r"userId '.*: expected 1 to 255 printable") as caught:
        user_of(request_of(), {"userId": user}, "123", READ_ACCOUNTS)
    assert caught.value.status == 400
    assert len(caught.value.detail) < 260


@pytest.mark.parametrize(
    ("query", "number"),
    [({}, 10), ({"limit": "1"}, 1), ({"limit": "50"}, 50), ({"limit": "007"}, 7)],
)
def test_bounded_parameter(query: dict[str, str], number: int) -> None:
    assert bounded_parameter(query, "limit", 10, 50) == number


def test_least_of_a_bounded_parameter() -> None:
    assert bounded_parameter({"after": "0"}, "after", 5, 50, least=0) == 0


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "51",
        "-1",
        "+5",
        "1.0",
        "1e1",
        "",
        "a",
        "1_0",
        "\u0663",
        "²",
        "9" * 17,
        "9" * 9999,
    ],
    ids=lambda text: text[:20],
)
def test_bounded_parameter_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match=r"limit '.*: expected a number from 1 to 50") as caught:
        bounded_parameter({"limit": text}, "limit", 10, 50)
    assert caught.value.status == 400
    assert len(caught.value.detail) < 100


@pytest.mark.parametrize(
    ("identity", "user", "status"),
    [
        (Identity(caller="user:ann", user="ann"), "ann", 0),
        (Identity(caller="user:ann", user="ann"), "bob", 403),
        (Identity(caller="user:ann", user="ann"), None, 403),
        (Identity(caller="key:k", rights=frozenset({READ_ACCOUNTS})), "bob", 0),
        (Identity(caller="key:k", rights=frozenset({READ_ACCOUNTS})), None, 0),
        (Identity(caller="key:k", rights=frozenset({"write:accounts"})), "bob", 403),
        (Identity(), "bob", 401),
        (Identity(), None, 401),
    ],
)
def test_who_may_act_for_a_user(identity: Identity, user: str | None, status: int) -> None:
    request = request_of()
    request.identity = identity
    if not status:
        check_user(request, user, READ_ACCOUNTS)
        return
    with pytest.raises(RequestError) as caught:
        check_user(request, user, READ_ACCOUNTS)
    assert caught.value.status == status


def test_a_request_is_about_its_user_unless_it_names_another() -> None:
    request = request_of()
    request.identity = Identity(caller="user:ann", user="ann")
    assert user_of(request, {}, "123", READ_ACCOUNTS) == "ann"


def test_two_idempotency_keys_are_refused() -> None:
    request = request_of(idempotency_key=b"a, b")
    request.repeated = frozenset({b"idempotency-key"})
    with pytest.raises(RequestError, match="Idempotency-Key: expected"):
        idempotency_key_of(request)

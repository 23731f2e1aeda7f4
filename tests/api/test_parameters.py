"""Parameters that several resources take."""

import pytest

from sse_node.api.parameters import bounded_parameter, idempotency_key_of, user_of_request
from sse_node.errors import RequestError
from sse_node.wire.http_head import Request
from sse_node.wire.identity import READ_ACCOUNTS


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
        ("a=b", "123"),
    ],
)
def test_user_of_a_request(query: str, user: str) -> None:
    assert user_of_request(request_of(query), "123", READ_ACCOUNTS) == user


@pytest.mark.parametrize(
    "query", ["userId=", "userId=a%20b", "userId=ann+x", "userId=a&userId=" + "x" * 256]
)
def test_user_of_a_request_is_refused(query: str) -> None:
    with pytest.raises(RequestError, match=r"userId '.*: expected 1 to 255 printable") as caught:
        user_of_request(request_of(query), "123", READ_ACCOUNTS)
    assert caught.value.status == 400
    assert len(caught.value.detail) < 260


@pytest.mark.parametrize(
    ("query", "number"), [("", 10), ("limit=1", 1), ("limit=50", 50), ("limit=007", 7)]
)
def test_bounded_parameter(query: str, number: int) -> None:
    assert bounded_parameter(request_of(query), "limit", 10, 50) == number


def test_least_of_a_bounded_parameter() -> None:
    assert bounded_parameter(request_of("after=0"), "after", 5, 50, least=0) == 0


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "51",
        "-1",
        "%2B5",
        "1.0",
        "1e1",
        "",
        "a",
        "1_0",
        "%D9%A3",
        "%C2%B2",
        "9" * 17,
        "9" * 9999,
    ],
    ids=lambda text: text[:20],
)
def test_bounded_parameter_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match=r"limit '.*: expected a number from 1 to 50") as caught:
        bounded_parameter(request_of("limit=" + text), "limit", 10, 50)
    assert caught.value.status == 400
    assert len(caught.value.detail) < 100

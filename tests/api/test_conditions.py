"""Conditional requests: what If-Match and If-None-Match accept, and what they mean."""

from collections.abc import Callable

import pytest

from sse_node.api.conditions import etag, expected_versions, is_known, precondition_failed
from sse_node.errors import RequestError
from sse_node.wire.http_head import Request


def request_of(name: str, value: str | None) -> Request:
    headers = {} if value is None else {name.encode(): value.encode("latin-1")}
    return Request("PATCH", "/accounts/1", "", headers)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "*"),
        ("*", "*"),
        (" * ", "*"),
        ('"3"', " 3 "),
        ('"3", "14"', " 3 14 "),
        ('"3","14" ,\t"15"', " 3 14 15 "),
        ('W/"3"', "  "),
        ('"abc", W/"4", "5"', " 5 "),
        ('"a,b"', "  "),
        ('""', "  "),
    ],
)
def test_if_match(value: str | None, expected: str) -> None:
    assert expected_versions(request_of("if-match", value)) == expected


@pytest.mark.parametrize(
    "value", ["", "3", '"3', '3"', '"3" "4"', "*, *", 'w/"3"', '"a b"', '"3";']
)
@pytest.mark.parametrize(
    ("name", "read"),
    [("if-match", expected_versions), ("if-none-match", lambda request: is_known(request, "3"))],
)
def test_what_is_malformed(name: str, read: Callable[[Request], object], value: str) -> None:
    with pytest.raises(RequestError, match="expected \\* or entity tags") as caught:
        read(request_of(name, value))
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("value", "known"),
    [
        (None, False),
        ("*", True),
        ('"3"', True),
        ('W/"3"', True),
        ('"2", "3"', True),
        ('"33"', False),
        ('"2"', False),
    ],
)
def test_if_none_match(value: str | None, known: bool) -> None:
    assert is_known(request_of("if-none-match", value), "3") is known


def test_the_error_names_the_present_version() -> None:
    error = precondition_failed("3")
    assert (error.status, error.headers) == (412, (etag("3"),))
    assert "the present version is 3" in error.detail
    assert etag("3") == (b"ETag", b'"3"')

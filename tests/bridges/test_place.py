"""Which places can be named."""

import pytest

from sse_node.bridges.place import parse_place
from sse_node.bridges.record import Record
from sse_node.errors import ConfigError

VALUE = b'{"a":{"b c":[1,{"d-e":"x"}]},"n":7}'


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("key", "k"),
        ("header:X-User", "h"),
        ("text:order.paid", "order.paid"),
        ("$.n", "7"),
        ("$.a['b c'][1].d-e", "x"),
        ('$["a"]["b c"][0]', "1"),
    ],
)
def test_place(text: str, found: str) -> None:
    place = parse_place("--user-from", text)
    assert place is not None
    assert place(Record("here", 0, VALUE, b"k", {"x-user": b"h"})) == found


def test_nothing_is_no_place() -> None:
    assert parse_place("--user-from", "") is None


@pytest.mark.parametrize(
    "text", ["value", "header:", "text:", "$", "$a", "$.", "$.a[", "$.a b", "$[x]"]
)
def test_other_texts_are_rejected(text: str) -> None:
    with pytest.raises(
        ConfigError, match=r"--user-from: .* expected key, header:NAME, a JSON path"
    ):
        parse_place("--user-from", text)

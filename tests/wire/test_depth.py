"""The depth of JSON, measured as a parser would meet it."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sse_node.wire.depth import MAX_DEPTH, is_deeper, seems_deeper


def depth_of(value: Any) -> int:  # noqa: ANN401  (any JSON)
    """Return the depth of decoded JSON."""
    members = (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    )
    return isinstance(value, dict | list) + max(map(depth_of, members), default=0)


TEXTS = st.text(st.sampled_from('[]{}"\\a,:'), max_size=12)
VALUES = st.recursive(
    st.none() | TEXTS | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(TEXTS, inner, max_size=4)
        | inner.map(lambda value: [value])
    ),
    max_leaves=30,
)


@given(VALUES, st.integers(0, 6), st.booleans())
@example(["]", ["]", ["]", "["], "["], "["], 3, False)
@example({'\\"[': [{"\\\\": ['"', "]"]}]}, 3, False)
@example(["", "[", "", "]", ""], 0, False)
def test_depth_of_any_json(value: Any, levels: int, spaced: bool) -> None:  # noqa: ANN401
    text = json.dumps(value, indent=1 if spaced else None).encode()
    assert is_deeper(text, levels) == (depth_of(value) > levels)


BARE = st.recursive(
    st.none() | st.integers(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab"), inner, max_size=4),
    max_leaves=30,
)


@given(BARE, st.integers(1, 6))
def test_glance_at_json_without_brackets_in_strings(value: Any, levels: int) -> None:  # noqa: ANN401
    text = json.dumps(value).encode()
    assert seems_deeper(text, levels) >= is_deeper(text, levels)


@pytest.mark.parametrize("opening", ["[", '{"":', '[{"a":1,"b":'], ids=["array", "object", "both"])
@pytest.mark.parametrize("levels", [MAX_DEPTH, MAX_DEPTH + 2, 978])
def test_the_limit(opening: str, levels: int) -> None:
    repeated = opening * (levels // (opening.count("[") + opening.count("{")))
    closing = "".join("]" if each == "[" else "}" for each in repeated[::-1] if each in "[{")
    text = f"{repeated}0{closing}".encode()
    assert is_deeper(text, MAX_DEPTH) == (levels > MAX_DEPTH)
    assert seems_deeper(text, MAX_DEPTH) >= (levels > MAX_DEPTH)


@pytest.mark.parametrize(
    ("text", "deeper"),
    [
        (b"[" * 20, True),
        (b"[" * 10, False),
        (b'"' + b"[" * 20, False),
        (b"]" * 20 + b"[" * 20, False),
        (b"[]" * 20, False),
        (b"[" * 20 + b'"' + b"]" * 20, True),
        (b"", False),
    ],
)
def test_text_that_is_not_json(text: bytes, deeper: bool) -> None:
    assert is_deeper(text, 10) == deeper


def test_many_values_are_not_deep() -> None:
    wide = json.dumps([{"id": number, "tags": ["{", "]"]} for number in range(1000)]).encode()
    assert not is_deeper(wide, MAX_DEPTH)
    bare = json.dumps([{"id": number, "tags": []} for number in range(1000)]).encode()
    assert not seems_deeper(bare, MAX_DEPTH)

"""Names and patterns of channels."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sse_node.wire.channels import Channels, compile_patterns


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("news", "news", True),
        ("news", "newsx", False),
        ("news", "News", False),
        ("room:*", "room:42", True),
        ("room:*", "room:", False),
        ("room:*", "room", False),
        ("room:*", "xroom:42", False),
        ("room:*", "room:42:seat:7", True),
        ("room:*", "room:*", True),
        ("order:*:status", "order:7:status", True),
        ("order:*:status", "order::status", False),
        ("order:*:status", "order:7:8:status", True),
        ("order:*:status", "order:status", False),
        ("order:*:status", "order:7:status:", False),
        ("*", "a", True),
        ("*", "", False),
        ("*.log", ".log", False),
        ("**", "a", False),
        ("**", "ab", True),
        ("a*b*b", "abbb", False),
        ("a*b*b", "axbxb", True),
        ("a*b*b", "axbbb", True),
        ("a.c", "abc", False),
        ("a[bc]", "ab", False),
        ("a[b*", "a[bc", True),
        ("%d+*", "%d+1", True),
    ],
)
def test_pattern_matches(pattern: str, name: str, matches: bool) -> None:
    assert (compile_patterns([pattern]).fullmatch(name) is not None) == matches


def test_one_of_several_patterns_matches() -> None:
    match = compile_patterns(["a*", "b", "*c"]).fullmatch
    assert [name for name in ("ax", "b", "xc", "bx", "x") if match(name)] == ["ax", "b", "xc"]


def test_no_pattern_matches_nothing() -> None:
    assert compile_patterns([]).fullmatch("") is None
    assert compile_patterns([]).fullmatch("a") is None


def test_matching_does_not_take_exponential_time() -> None:
    assert compile_patterns(["*a" * 100 + "b"]).fullmatch("a" * 254 + "c") is None


def matches_literally(pattern: str, name: str) -> bool:
    """Return what a pattern means, by trying every length of each `*`."""
    if not pattern:
        return not name
    if pattern[0] != "*":
        return name[:1] == pattern[0] and matches_literally(pattern[1:], name[1:])
    return any(matches_literally(pattern[1:], name[n:]) for n in range(1, len(name) + 1))


@given(st.text("ab:*", min_size=1, max_size=7), st.text("ab:*", max_size=9))
@example("a*b*b", "abb")
@example("*a*", "aaa")
def test_pattern_matches_what_some_lengths_of_its_stars_match(pattern: str, name: str) -> None:
    matched = compile_patterns([pattern]).fullmatch(name) is not None
    assert matched == matches_literally(pattern, name)


def test_channels_are_fixed_names_and_patterns() -> None:
    channels = Channels(["news", "room:*", "system-events", "news", "order:*:status"])
    assert channels.fixed == ("system-events", "news")
    assert channels.redis_channels == ("system-events", "news", "channel-events")
    assert str(channels) == "system-events, news, room:*, order:*:status"


def test_names_alone_need_no_shared_redis_channel() -> None:
    channels = Channels(["news"])
    assert channels.redis_channels == channels.fixed == ("system-events", "news")


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("system-events", True),
        ("news", True),
        ("room:42", True),
        ("room:" + "x" * 250, True),
        ("room:" + "x" * 251, False),
        ("room:a b", False),
        ("room:a,b", False),
        ("room:\n", False),
        ("rooms", False),
        ("", False),
    ],
)
def test_name_is_known(name: str, known: bool) -> None:
    assert (name in Channels(["news", "room:*"])) == known

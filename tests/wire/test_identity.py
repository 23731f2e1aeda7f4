"""Patterns of names, and what a caller may do by them."""

import re
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sse_node.wire.identity import ANYONE, NOTHING, Identity, Patterns, is_pattern
from tests.support.cpu_time import steps_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", True),
        ("*", True),
        ("room:*", True),
        ("user:ann+x@example.com", True),
        ("auth0|5f", True),
        ("!#$%&'()*+,-./:;<=>?@[]^_`{|}~", True),
        ("x" * 255, True),
        ("x" * 256, False),
        ("", False),
        (" ", False),
        ("a b", False),
        ("a\n", False),
        ("\x7f", False),
        ('"', False),
        ("\\", False),
        ("é", False),
    ],
)
def test_what_can_be_a_pattern(text: str, expected: bool) -> None:
    assert is_pattern(text) is expected


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("a", "a", True),
        ("a", "A", False),
        ("a", "aa", False),
        ("*", "a", True),
        ("*", "a:b", True),
        ("*", "", False),
        ("**", "a", True),
        ("room:*", "room:42", True),
        ("room:*", "room:4:2", True),
        ("room:*", "room:", False),
        ("room:*", "room", False),
        ("room:*", "xroom:42", False),
        ("*:status", "order:1:status", True),
        ("*:status", ":status", False),
        ("order:*:status", "order:1:status", True),
        ("order:*:status", "order::status", False),
        ("order:*:status", "order:status", False),
        ("order:*:status", "order:1:status:x", False),
        ("a*a", "aa", False),
        ("a*a", "aaa", True),
        ("*a*", "a", False),
        ("*a*", "bab", True),
        ("*a*", "aaa", True),
        ("*aa*aa*", "xaaxaax", True),
        ("*aa*aa*", "xaaaax", False),
        ("*aa*aa*", "xaaaaax", True),
        (".", "x", False),
        ("a.*", "abc", False),
        ("[ab]*", "a1", False),
        ("(a|b)*", "a", False),
        ("room:*", "room:4\n2", True),
    ],
)
def test_a_star_stands_for_one_or_more_characters(pattern: str, name: str, expected: bool) -> None:
    assert Patterns([pattern]).match(name) is expected
    assert Patterns(["other", "no:*", pattern]).match(name) is expected


def by_expression(pattern: str, name: str) -> bool:
    parts = map(re.escape, re.split(r"\*+", pattern))
    return re.fullmatch(".+".join(parts), name, re.DOTALL) is not None


@given(st.text("ab*", min_size=1, max_size=9), st.text("ab", max_size=12))
def test_patterns_match_as_the_expression_they_stand_for(pattern: str, name: str) -> None:
    assert Patterns([pattern]).match(name) is by_expression(pattern, name)


def test_short_patterns_match_as_the_expression_they_stand_for() -> None:
    for length in range(1, 5):
        for pattern in map("".join, product("ab*", repeat=length)):
            for name in map("".join, product("ab", repeat=length)):
                assert Patterns([pattern]).match(name) is by_expression(pattern, name)


def test_no_pattern_takes_long() -> None:
    patterns = Patterns(["*a" * 127 + "*", "a*" * 127, "*" * 255, "*ab" * 85])

    def match() -> None:
        for name in ("a" * 255, "ab" * 127, "a" * 254 + "b"):
            patterns.match(name)

    assert steps_of(match, enough=2) < 2  # it takes 0.02


def test_patterns_are_values() -> None:
    patterns = Patterns(["a", "b:*", "a"])
    assert list(patterns) == ["a", "b:*"]
    assert patterns == Patterns(["a", "b:*"])
    assert hash(patterns) == hash(Patterns(["a", "b:*"]))
    assert patterns != Patterns(["b:*", "a"])
    assert patterns != ("a", "b:*")
    assert repr(patterns) == "Patterns(('a', 'b:*'))"
    assert patterns
    assert not NOTHING
    assert patterns.lists("a")
    assert not patterns.lists("b:*")
    assert not patterns.match_wildcard("a")


LOOK_ALIKES = ["1", "01", "%31", "1.", "1 ", "١", "１", "", "*"]  # noqa: RUF001
NAMES = ["ann", "Ann", "ann.", "аnn", "ann:", "ann*", "an", "annn", "user:ann", "self"]  # noqa: RUF001


@pytest.mark.parametrize("user", [*LOOK_ALIKES, *NAMES])
@pytest.mark.parametrize("own", ["1", "ann", "self"])
def test_a_user_acts_and_publishes_as_nobody_who_looks_alike(own: str, user: str) -> None:
    identity = Identity(caller=f"user:{own}", user=own, publish=Patterns(["user:self"]))
    assert identity.may_act_as(user) is (user == own)
    assert identity.may_publish_to_user(user) is (user == own)
    named = Identity(caller="key:k", publish=Patterns([f"user:{own}"]))
    assert named.may_publish_to_user(user) is (user == own != "self")
    assert not named.may_act_as(user)


@pytest.mark.parametrize(
    ("publish", "user", "channel"),
    [
        (["user:self"], False, False),
        (["user:*"], True, False),
        (["*"], True, True),
        (["user:bob"], True, False),
        (["bob"], False, True),
        (["user:b"], False, False),
        (["u*"], True, False),
        ([], False, False),
    ],
)
def test_users_and_channels_are_different_addresses(
    publish: list[str], user: bool, channel: bool
) -> None:
    identity = Identity(caller="user:ann", user="ann", publish=Patterns(publish))
    assert identity.may_publish_to_user("bob") is user
    assert identity.may_publish_to_channel("bob") is channel
    assert not identity.may_publish_to_channel("user:bob"), "no channel is called like a user"


def test_user_self_of_a_key_is_nobody() -> None:
    key = Identity(caller="key:k", publish=Patterns(["user:self"]))
    assert not key.may_publish_to_user("self")
    assert not key.may_publish_to_user("")
    everybody = Identity(caller="key:k", publish=Patterns(["user:*"]))
    assert everybody.may_publish_to_user("self")


def test_rights_are_for_all_users() -> None:
    key = Identity(caller="key:k", rights=frozenset({"read:accounts"}))
    assert key.may_act_as("ann", "read:accounts")
    assert not key.may_act_as("ann", "write:accounts")
    assert not key.may_act_as("ann")


def test_who_may_listen() -> None:
    identity = Identity(caller="user:ann", user="ann", listen=Patterns(["room:1", "lobby:*"]))
    assert identity.may_listen("room:1")
    assert identity.may_listen("lobby:a")
    assert not identity.may_listen("room:10")
    assert ANYONE.may_listen("whatever")
    assert ANYONE.may_act_as("whoever")
    assert ANYONE.may_publish_to_user("whoever")
    assert not Identity().may_listen("room:1")

"""Who a request comes from, and what that caller may do: plain values, verified elsewhere."""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from math import inf
from typing import Final

import msgspec

from sse_node.wire.channels import compile_patterns

# What a name of a user or a channel may hold, and `*`, which stands for one or more characters.
_PATTERN: Final = re.compile(r"(?:[!#-\[\]-~]){1,255}")
_USER: Final = "user:"
_SELF: Final = "user:self"
# Of different lists of patterns; arbitrary.
_CACHED: Final = 1024

OBSERVE: Final = "observe"
REVOKE: Final = "revoke"
READ_ACCOUNTS: Final = "read:accounts"
WRITE_ACCOUNTS: Final = "write:accounts"
WEBHOOKS: Final = "webhooks"
RIGHTS: Final = frozenset({OBSERVE, REVOKE, READ_ACCOUNTS, WRITE_ACCOUNTS, WEBHOOKS})


def is_pattern(text: str) -> bool:
    """Return whether `text` can be a pattern of names: 1 to 255 printable ASCII characters."""
    return _PATTERN.fullmatch(text) is not None


class Patterns:
    """A set of names and patterns; `*` stands for one or more characters, colons included.

    Args:
        texts: each accepted by `is_pattern`.
    """

    __slots__ = ("_match_pattern", "_names", "_texts")

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._texts = tuple(dict.fromkeys(texts))
        self._names = frozenset(text for text in self._texts if "*" not in text)
        self._match_pattern = _matcher(tuple(text for text in self._texts if "*" in text))

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __bool__(self) -> bool:
        return bool(self._texts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Patterns) and self._texts == other._texts

    def __hash__(self) -> int:
        return hash(self._texts)

    def __repr__(self) -> str:
        return f"Patterns({self._texts!r})"

    def lists(self, name: str) -> bool:
        """Return whether `name` is one of the names, literally."""
        return name in self._names

    def match(self, name: str) -> bool:
        """Return whether `name` is one of the names or matches one of the patterns."""
        return name in self._names or self.match_wildcard(name)

    def match_wildcard(self, name: str) -> bool:
        """Return whether `name` matches one of the patterns with a `*`."""
        return self._match_pattern(name) is not None


@lru_cache(_CACHED)
def _matcher(patterns: tuple[str, ...]) -> Callable[[str], re.Match[str] | None]:
    """Return the function that matches a name; shared by the many tokens that list the same."""
    return compile_patterns(re.sub(r"\*+", "*", pattern) for pattern in patterns).fullmatch


NOTHING: Final = Patterns()


class Identity(msgspec.Struct, frozen=True, gc=False):
    """The caller of a request; many are kept, which the garbage collector need not look at.

    Attributes:
        caller: names the caller to limits and idempotency keys, such as `user:ann` or
            `key:billing`; empty for a caller without a name.
        user: the only user that it may act as; None for a caller that is no user.
        is_anyone: authentication is off: the caller may open the streams of every user.
        rights: a subset of RIGHTS.
        listen: named channels that it may listen to; all of them when `is_anyone`.
        publish: what it may publish to: `user:ID`, `user:*`, or names of channels.
        expires_s: Unix time at which its access ends.
        token_id: the `jti` of its token; empty when there is none.
        key: the fingerprint of the key that its token was signed with; empty without a token.
    """

    caller: str = ""
    user: str | None = None
    is_anyone: bool = False
    rights: frozenset[str] = frozenset()
    listen: Patterns = NOTHING
    publish: Patterns = NOTHING
    expires_s: float = inf
    token_id: str = ""
    key: str = ""

    def may_act_as(self, user: str, right: str = "") -> bool:
        """Return whether the caller is this user, or may act for every user.

        Args:
            user: to act as.
            right: that allows it for every user; empty for streams, which anyone may open.
        """
        return user == self.user or (right in self.rights if right else self.is_anyone)

    def may_listen(self, channel: str) -> bool:
        """Return whether the caller may listen to a named channel."""
        return self.is_anyone or self.listen.match(channel)

    def may_publish_to_user(self, user: str) -> bool:
        """Return whether the caller may publish to a user.

        `user:self` is the caller; a user whose id is `self` is not meant by it.
        """
        address = _USER + user
        if user == self.user and self.publish.lists(_SELF):
            return True
        return self.publish.match_wildcard(address) or (
            address != _SELF and self.publish.lists(address)
        )

    def may_publish_to_channel(self, channel: str) -> bool:
        """Return whether the caller may publish to a channel."""
        return not channel.startswith(_USER) and self.publish.match(channel)


ANYONE: Final = Identity(
    is_anyone=True, rights=RIGHTS, listen=Patterns(["*"]), publish=Patterns(["*"])
)
"""Every caller of a node without authentication."""

"""The channels of a node: fixed names, and patterns of the names that applications choose.

A fixed name is also the name of a Redis channel. All names that match a pattern share the Redis
channel `channel-events`, whose payloads say the channel, so that no node subscribes for each name.
"""

import re
from collections.abc import Iterable, Iterator

from sse_node.wire.envelope import CHANNEL_EVENTS, SYSTEM_EVENTS, is_channel_name


def compile_patterns(patterns: Iterable[str]) -> re.Pattern[str]:
    """Return an expression for `fullmatch` that matches what one of the patterns matches.

    Args:
        patterns: `*` matches one or more characters of any kind, `:` too. None match nothing.

    Returns:
        An expression that takes no more than linear time for each `*` but the last: those are
        atomic, because a later start of what follows them cannot match more.
    """
    return re.compile("|".join(map(_expression_of, patterns)) or "(?!)", re.DOTALL)


def _expression_of(pattern: str) -> str:
    first, *others = map(re.escape, pattern.split("*"))
    if not others:
        return first
    return "".join((first, *(f"(?>.+?{part})" for part in others[:-1]), ".+", others[-1]))


class Channels:
    """The channels that streams may hear and clients may publish to; from `--channels`.

    Args:
        entries: names and patterns; a pattern has a `*`.

    Attributes:
        fixed: the names, `system-events` first, each once.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        self._entries = tuple(dict.fromkeys((SYSTEM_EVENTS, *entries)))
        self.fixed = tuple(entry for entry in self._entries if "*" not in entry)
        patterns = [entry for entry in self._entries if "*" in entry]
        self._has_patterns = bool(patterns)
        self._match_pattern = compile_patterns(patterns).fullmatch

    def __iter__(self) -> Iterator[str]:
        """Yield all names and patterns."""
        return iter(self._entries)

    def __str__(self) -> str:
        """Return all names and patterns, for error messages."""
        return ", ".join(self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self.fixed or (
            is_channel_name(name) and self._match_pattern(name) is not None
        )

    @property
    def redis_channels(self) -> tuple[str, ...]:
        """The Redis channels that a node subscribes to for them."""
        return (*self.fixed, CHANNEL_EVENTS.decode()) if self._has_patterns else self.fixed

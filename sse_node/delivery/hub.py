"""The registry: which streams want which audience.

An audience is a user (`123`) or a channel (` system-events`; a space is in no user's id).
Invariant: an audience that is present has at least one stream.
"""

from collections.abc import Collection, Iterable, Iterator
from itertools import chain
from typing import Final, Protocol

# Audiences of up to this many streams are a tuple: 48 bytes for one stream, while 216 is
# what a set of one takes. Arbitrary: a person has a few tabs open.
_FEW = 4
_CHANNEL_MARK: Final = " "


class Stream(Protocol):
    """What the hub and the fan-out know of an open event stream."""

    def write(self, data: bytes) -> None:
        """Write frames; never raises, never blocks, never touches the hub."""


def channel_audience(channel: str) -> str:
    """Return the audience of a channel."""
    return _CHANNEL_MARK + channel


class Hub:
    """All open streams of a node, by audience; lives as long as the node."""

    def __init__(self) -> None:
        self._streams: dict[str, tuple[Stream, ...] | dict[Stream, None]] = {}
        self.connected_users = 0

    def add(self, stream: Stream, audiences: Iterable[str]) -> None:
        """Enter a stream for each of its audiences."""
        for audience in audiences:
            streams = self._streams.get(audience)
            if streams is None:
                self._streams[audience] = (stream,)
                self.connected_users += not audience.startswith(_CHANNEL_MARK)
            elif isinstance(streams, dict):
                streams[stream] = None
            elif len(streams) < _FEW:
                self._streams[audience] = (*streams, stream)
            else:
                self._streams[audience] = dict.fromkeys((*streams, stream))

    def remove(self, stream: Stream, audiences: Iterable[str]) -> None:
        """Take a stream out of the audiences it was added for."""
        for audience in audiences:
            streams = self._streams[audience]
            if isinstance(streams, dict):
                del streams[stream]
                if streams:
                    continue
            elif len(streams) > 1:
                self._streams[audience] = tuple(each for each in streams if each is not stream)
                continue
            del self._streams[audience]
            self.connected_users -= not audience.startswith(_CHANNEL_MARK)

    def streams_of(self, audience: str) -> Collection[Stream] | None:
        """Return the streams of an audience, None for an empty one; not a copy."""
        return self._streams.get(audience)

    def newest_of(self, audience: str) -> Stream | None:
        """Return the stream that was added last of an audience, None for an empty one."""
        return next(reversed(self._streams.get(audience, ())), None)

    @property
    def is_empty(self) -> bool:
        """Whether there are no streams."""
        return not self._streams

    def streams(self) -> set[Stream]:
        """Return every stream once."""
        return set(chain.from_iterable(self._streams.values()))

    def users(self) -> Iterator[str]:
        """Iterate over the users that have a stream."""
        return (audience for audience in self._streams if not audience.startswith(_CHANNEL_MARK))

    def audiences(self) -> Iterator[str]:
        """Iterate over the audiences somebody wants."""
        return iter(self._streams)

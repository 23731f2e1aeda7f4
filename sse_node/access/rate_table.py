"""Token buckets by key, in a table of bounded size.

A bucket is the time at which it is full again (the generic cell rate algorithm, ITU-T I.371): one
number, and no timer. A full bucket is as good as none, so it need not be kept.
"""

from collections import OrderedDict
from collections.abc import Callable
from math import ceil
from time import monotonic
from typing import Final, NamedTuple

# A bucket takes about 250 bytes, so a full table 16 MB: arbitrary.
MAX_BUCKETS: Final = 65_536
# Buckets that are looked at for one that is full, when the table is: arbitrary.
_LOOKED_AT: Final = 16
# To look at all buckets takes 3 ms for a full table.
_SWEEP_INTERVAL_S: Final = 1.0
_ROUNDING_S: Final = 1e-9


class Level(NamedTuple):
    """What is in a bucket after tokens were asked for.

    Attributes:
        remaining: whole tokens.
        wait_s: until there are enough of them; 0 when they have been taken.
        full_in_s: until the bucket is full.
    """

    remaining: int
    wait_s: float
    full_in_s: float


class RateTable:
    """Buckets that each gain tokens at one rate; lives as long as the node.

    Args:
        rate: tokens per second, more than 0.
        window_s: a bucket holds the tokens of this time.
        now: returns seconds that never go back.
        max_buckets: for a further key, a full bucket is removed, or one of those least recently
            used: its key begins with a full one again.
    """

    def __init__(
        self,
        rate: float,
        window_s: float,
        now: Callable[[], float] = monotonic,
        max_buckets: int = MAX_BUCKETS,
    ) -> None:
        self._rate = rate
        self._window_s = window_s
        self._now = now
        self._max_buckets = max_buckets
        self._full_at: OrderedDict[str, float] = OrderedDict()  # the least recently used first
        self._swept_at = -_SWEEP_INTERVAL_S

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: str, tokens: int = 1) -> Level:
        """Take tokens from a key's bucket, all of them or none.

        More tokens than a bucket holds need a full one, and are made up for later.
        """
        now = self._now()
        missing_s = max(0.0, self._full_at.get(key, now) - now)
        taken_s = tokens / self._rate
        wait_s = missing_s + min(taken_s, self._window_s) - self._window_s
        if wait_s > _ROUNDING_S:
            return self._level(missing_s, wait_s)
        if key not in self._full_at:
            self._make_room(now)
        missing_s += taken_s
        self._full_at[key] = now + missing_s
        self._full_at.move_to_end(key)
        return self._level(missing_s, 0.0)

    def _level(self, missing_s: float, wait_s: float) -> Level:
        tokens = (self._window_s - missing_s + _ROUNDING_S) * self._rate
        return Level(max(0, int(tokens)), wait_s, missing_s)

    def _make_room(self, now: float) -> None:
        """Remove a few full buckets, so that the table shrinks; make room for one in any case."""
        for _ in range(2):
            if self._full_at and next(iter(self._full_at.values())) <= now:
                self._full_at.popitem(last=False)
        if len(self._full_at) < self._max_buckets:
            return
        if now - self._swept_at >= _SWEEP_INTERVAL_S:
            self._swept_at = now
            for key in [key for key, full_at in self._full_at.items() if full_at <= now]:
                del self._full_at[key]
        if len(self._full_at) >= self._max_buckets:
            oldest = [key for key, _ in zip(self._full_at, range(_LOOKED_AT), strict=False)]
            del self._full_at[min(oldest, key=self._full_at.__getitem__)]


def whole_seconds(seconds: float) -> int:
    """Return seconds rounded up, as header fields want them; at least 1."""
    return max(1, ceil(seconds - _ROUNDING_S))

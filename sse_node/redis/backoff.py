"""Waiting times between attempts: exponential, with jitter, so that nodes don't come as one."""

import random


class Backoff:
    """Waiting times of one series of attempts.

    Args:
        first_s: upper bound of the first time.
        most_s: upper bound of every later time; each bound is twice the one before.
    """

    def __init__(self, first_s: float = 0.1, most_s: float = 5.0) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._bound_s = first_s

    def next_s(self) -> float:
        """Return the next waiting time: between half its bound and the bound."""
        bound_s = self._bound_s
        self._bound_s = min(self._most_s, 2 * bound_s)
        return random.uniform(bound_s / 2, bound_s)

    def reset(self) -> None:
        """An attempt has succeeded; the next series begins with short times."""
        self._bound_s = self._first_s

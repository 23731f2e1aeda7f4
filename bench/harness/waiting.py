"""Waiting for what can only be asked for: the state of another process."""

import time
from collections.abc import Callable
from typing import Final

from bench.harness.child import ProcessError

_POLL_INTERVAL_S: Final = 0.01  # arbitrary


def wait_until(is_true: Callable[[], bool], what: str, timeout_s: float = 20.0) -> None:
    """Return when a condition is true. Raises ProcessError."""
    deadline_s = time.monotonic() + timeout_s
    while not is_true():
        if time.monotonic() > deadline_s:
            raise ProcessError(f"had {timeout_s:g} s for {what}")
        time.sleep(_POLL_INTERVAL_S)

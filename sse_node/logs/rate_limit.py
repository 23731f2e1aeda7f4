"""Log lines about what may come thousands of times: once a second for each reason."""

import time


class OncePerSecond:
    """Lets a log line through at most once a second for each key."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def allows(self, key: str) -> bool:
        """Return whether it is time again for a line with this key."""
        now = time.monotonic()
        if now - self._last.get(key, float("-inf")) < 1:
            return False
        self._last[key] = now
        return True

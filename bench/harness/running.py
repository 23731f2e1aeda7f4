"""What has several parts: all of them run inside its `with` block, or none."""

import contextlib
from typing import Self


class Running:
    """Lives as long as its `with` block; a subclass says what its parts are.

    They end in the reverse order of their start.
    """

    _parts: contextlib.ExitStack

    def __enter__(self) -> Self:
        """Start all of it; what had been started ends when something fails."""
        with contextlib.ExitStack() as parts:
            self._start(parts)
            self._parts = parts.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """End all of it."""
        self._parts.close()

    def _start(self, parts: contextlib.ExitStack) -> None:
        """Start the parts and give them to `parts`."""
        raise NotImplementedError

"""Objects with several parts: inside the `with` block all of them run, or none."""

import contextlib
from typing import Self


class Running:
    """Starts its parts for a `with` block and ends them in reverse order; see `_start`."""

    def __enter__(self) -> Self:
        """Start all parts. After an error, end those that have started."""
        self._parts = contextlib.ExitStack()
        try:
            self._start(self._parts)
        except BaseException:
            self._parts.close()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        """End all parts."""
        self._parts.close()

    def _start(self, parts: contextlib.ExitStack) -> None:
        """Start the parts and enter them into `parts`."""
        raise NotImplementedError

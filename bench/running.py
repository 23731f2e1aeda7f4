"""What is made of several processes: all of them run inside its ``with`` block, or none."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType


class Running:
    """A subclass starts its parts in :meth:`_start`; they end in the reverse order."""

    _open: contextlib.ExitStack

    def __enter__(self) -> Self:
        """Start all of it; what had been started ends when something fails."""
        with contextlib.ExitStack() as started:
            self._start(started)
            self._open = started.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End all of it."""
        self._open.close()

    def _start(self, started: contextlib.ExitStack) -> None:
        """Start the parts and give them to ``started``."""
        raise NotImplementedError

"""Replacing the workers of a node one by one, as SIGHUP asks: a new process for each slot."""

import logging
from collections import deque
from collections.abc import Callable, Sequence

from sse_node.node.worker_process import NEVER, Slot, WorkerProcess

logger = logging.getLogger(__name__)


class Replacement:
    """The replacement that is under way; created by the supervisor, lives as long as it.

    Args:
        start: starts a replacement's process; returns None when the kernel has none left.
        drain: asks a worker that was replaced to stop.
        restart: schedules the restart of a slot that has no worker.

    Attributes:
        successor: the process that has to serve before the worker of its slot is stopped.
        replaced: the worker that was replaced and drains.
    """

    def __init__(
        self,
        *,
        start: Callable[[Slot], WorkerProcess | None],
        drain: Callable[[WorkerProcess], None],
        restart: Callable[[Slot, str], None],
    ) -> None:
        self._start = start
        self._drain = drain
        self._restart = restart
        self._waiting: deque[Slot] = deque()
        self.successor: WorkerProcess | None = None
        self.replaced: WorkerProcess | None = None

    def replace_all(self, slots: Sequence[Slot]) -> None:
        """Replace the workers of all slots; one that is under way is finished first."""
        logger.info("SIGHUP: replacing %d workers, one by one", len(slots))
        is_under_way = self.successor is not None or self.replaced is not None
        self._waiting = deque(slots)
        if not is_under_way:
            self._replace_next()

    @property
    def is_under_way(self) -> bool:
        """Whether a worker is being replaced, or waits for it."""
        return bool(self.successor or self.replaced or self._waiting)

    def cancel(self) -> None:
        """Replace no further workers: the node stops."""
        self._waiting.clear()

    def _replace_next(self) -> None:
        if not self._waiting:
            return
        slot = self._waiting.popleft()
        self.successor = self._start(slot)
        if self.successor is None:
            self._give_up("has no process", slot)

    def on_serving(self, successor: WorkerProcess) -> None:
        """The successor serves: it takes the slot, and the worker before it drains."""
        slot = successor.slot
        self.successor, self.replaced, slot.worker = None, slot.worker, successor
        successor.deadline = NEVER
        logger.info("%s serves", successor.name)
        if self.replaced is None:  # it has ended meanwhile
            self._replace_next()
        else:
            self._drain(self.replaced)

    def on_gone(self, worker: WorkerProcess, how: str, *, is_stopping: bool) -> bool:
        """Handle the end of a process; return whether it was part of the replacement."""
        if worker is self.replaced:
            self.replaced = None
            self._replace_next()
        elif worker is self.successor:
            self.successor = None
            if not is_stopping:
                self._give_up(how, worker.slot)
        else:
            return False
        return True

    def _give_up(self, why: str, slot: Slot) -> None:
        logger.error(
            "worker %d: the replacement %s before it served; keeping the current workers",
            slot.number,
            why,
        )
        self._waiting.clear()
        if slot.worker is None:
            self._restart(slot, "has ended meanwhile")

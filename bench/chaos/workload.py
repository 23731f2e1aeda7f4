"""The load on its event loop: the publisher, the clients, the link.

The loop has a thread of its own, because starting and stopping processes blocks.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from bench.chaos.access import Access
from bench.chaos.checker import Case, FaultTime, Ledger, checker
from bench.chaos.clients import Address, Watcher, Watchers
from bench.chaos.publisher import Publisher
from bench.chaos.tcp_proxy import Link
from bench.harness import ProcessError
from bench.harness.running import Running

T = TypeVar("T")

_CALL_TIMEOUT_S = 60.0  # arbitrary: longer than any call should take


class Traffic(Running):
    """The load of one run; lives as long as its `with` block."""

    def __init__(
        self, ledger: Ledger, redis_socket: Path, label: str = "", access: Access | None = None
    ) -> None:
        """Take the socket that the link connects to, a label for the report, and the tokens."""
        self.link = Link(redis_socket)
        self.access = access
        self.watchers = Watchers(ledger, label, access)
        self.publisher: Publisher | None = None
        self._ledger = ledger
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="traffic", daemon=True)
        self._tasks: list[asyncio.Task[None]] = []

    def _start(self, parts: ExitStack) -> None:
        """Start the loop and the link."""
        self._thread.start()
        parts.callback(self._stop)
        self.call(self.link.start())

    def _stop(self) -> None:
        self.call(self._shutdown())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def call(self, coroutine: Coroutine[Any, Any, T], timeout_s: float = _CALL_TIMEOUT_S) -> T:
        """Run a coroutine on the loop and return what it returns. Raises ProcessError."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result(timeout_s)
        except TimeoutError as error:
            raise ProcessError(f"the load has not answered within {timeout_s:g} s") from error
        finally:
            future.cancel()

    def begin(
        self, port: int, streams: Sequence[tuple[str, Address]], users: Sequence[str], rate: float
    ) -> None:
        """Open the streams, each a user and an address, and publish for the users."""
        for user, address in streams:
            self.watchers.add(user, address)
        key = self.access.key if self.access is not None else ""
        self.publisher = Publisher(port, self._ledger, users, rate, key)
        self.call(self._run(self.watchers.run(), self.publisher.run()))

    async def _run(self, *runs: Coroutine[Any, Any, None]) -> None:
        self._tasks = [asyncio.create_task(run) for run in runs]

    def on_loop(self, function: Callable[[], T]) -> T:
        """Call a function on the loop and return what it returns. Raises ProcessError."""

        async def call() -> T:
            return function()

        return self.call(call())

    def begin_fault(self, number: int) -> None:
        """Record in every journal that a fault begins."""
        self.on_loop(lambda: self.watchers.begin_fault(number))

    def acknowledged(self) -> int:
        """Return the number of acknowledged events."""
        return self.on_loop(lambda: sum(map(len, self._ledger.acknowledged.values())))

    def lose(self, began_at: float, read: Callable[[], set[tuple[str, int]]]) -> int:
        """Record that Redis lost events; return how many.

        Args:
            began_at: from then on streams may be reset.
            read: returns the events that Redis holds; it takes a while.
        """
        known = self.on_loop(self._ledger.all_acknowledged)
        held = read()
        return self.on_loop(lambda: self._ledger.lose(began_at, held, known))

    def trim(self, held: set[tuple[str, int]]) -> None:
        """Record that the event log was trimmed to the events `held`."""
        self.on_loop(lambda: self._ledger.trim(held))

    def cases(self, faults: Sequence[FaultTime]) -> list[Case]:
        """Return every violation in the journals of the streams."""
        return checker(self._ledger, [each.journal for each in self.watchers.all], faults)

    def publish(self, user: str, pad_bytes: int) -> None:
        """Publish one more event and wait for its acknowledgement."""
        assert self.publisher is not None
        self.call(self.publisher.publish(user, pad_bytes))

    def revoke(self, watcher: Watcher) -> bool:
        """Revoke the token of a stream; return whether a node has accepted that."""
        assert self.publisher is not None
        token_id = watcher.token.token_id
        if not self.call(self.publisher.revoke(token_id)):
            return False
        self.on_loop(partial(watcher.end_access, token_id))
        return True

    def wait_fresh(
        self, watchers: Iterable[Watcher], since: float, timeout_s: float
    ) -> tuple[float, list[str]]:
        """Wait until these streams have an event first sent at `since` or later.

        Returns the time until the last of them had it, and the state of those that timed out.
        """
        recovered_s, waiting = self.call(
            self.watchers.wait_fresh(watchers, since, timeout_s), timeout_s + _CALL_TIMEOUT_S
        )
        self.on_loop(self._raise_what_failed)
        return recovered_s, [watcher.describe() for watcher in waiting]

    def _raise_what_failed(self) -> None:
        for task in self._tasks:
            if task.done():
                task.result()

    def end_publishing(self) -> None:
        """End publishing, with a last event for each user."""
        assert self.publisher is not None
        self.on_loop(self.publisher.end)

    def wait_published(self) -> float:
        """Wait for the publisher's last response; return since when the last events were sent."""
        assert self.publisher is not None
        self.call(asyncio.wait_for(self._tasks[1], timeout=None))
        return self.publisher.last_s

    async def _shutdown(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.link.shutdown()

"""Sends what waits in the queues of webhooks: one message of a webhook at a time, many webhooks.

A webhook that fails is due again later and holds nothing meanwhile. Those that fail have at most
half of the requests in flight, so that those that work always find room.
"""

import asyncio
import logging
from collections import Counter
from datetime import UTC, datetime
from time import time
from typing import TYPE_CHECKING, Any, Final

from sse_node.errors import RedisError, TargetError
from sse_node.lifetimes.background_task import BackgroundTask
from sse_node.logs.rate_limit import OncePerSecond
from sse_node.redis.backoff import Backoff
from sse_node.webhooks.hosts import Host, Hosts
from sse_node.webhooks.queue import Claim, Job, Queues, Result
from sse_node.webhooks.schedule import Answer, Outcome, Schedule
from sse_node.webhooks.signing import signed_headers
from sse_node.webhooks.targets import Target, Targets

if TYPE_CHECKING:
    from sse_node.webhooks.sender import Sender

_IN_FLIGHT: Final = 256  # arbitrary: a quarter of the usual limit of open files
_FAILING: Final = _IN_FLIGHT // 2
_CLAIMED_AT_ONCE: Final = 64
# Messages of a webhook that are sent without looking at other webhooks.
_IN_A_ROW: Final = 50
# How often what other processes have queued, or left behind, is looked for.
_LOOK_S: Final = 0.25
_BUSY_S: Final = 1.0

logger = logging.getLogger(__name__)


class Deliverer:
    """Delivers messages; lives as long as the process.

    Args:
        queues: where they wait.
        targets: the rules for URLs.
        sender: the HTTP client.
        schedule: of attempts.

    Attributes:
        hosts: what is known of the receivers' hosts.
        outcomes: messages by what became of them.
        refused: attempts for which no connection was allowed.
    """

    def __init__(
        self, queues: Queues, targets: Targets, sender: "Sender", schedule: Schedule
    ) -> None:
        self._queues = queues
        self._targets = targets
        self._sender = sender
        self._schedule = schedule
        self._wake = asyncio.Event()
        self._stopping = False
        self._failing = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._task = BackgroundTask(self._run)
        self._log_lines = OncePerSecond()
        self.hosts = Hosts(schedule.scale)
        self.outcomes: Counter[Outcome] = Counter()
        self.refused = 0

    @property
    def in_flight(self) -> int:
        """How many webhooks are being delivered to."""
        return len(self._tasks)

    def start(self) -> None:
        """Begin to deliver; needs a running event loop."""
        self._task.start()

    def wake(self) -> None:
        """Look for messages now."""
        self._wake.set()

    async def drain(self, timeout_s: float) -> None:
        """Begin nothing more, and wait for what is in flight."""
        self._stopping = True
        await self._task.shutdown()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)

    async def shutdown(self) -> None:
        """Stop at once; what is in flight is sent again by another process."""
        await self._task.shutdown()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self) -> None:
        backoff = Backoff()
        while True:
            self._wake.clear()
            room = min(_CLAIMED_AT_ONCE, _IN_FLIGHT - len(self._tasks))
            try:
                claims = await self._queues.claim(room) if room else []
            except RedisError:
                await asyncio.sleep(backoff.next_s())
                continue
            backoff.reset()
            for claim in claims:
                task = asyncio.get_running_loop().create_task(self._deliver_to(claim))
                self._tasks.add(task)
                task.add_done_callback(self._on_done)
            if not claims:
                await self._wait()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(_LOOK_S):
                await self._wake.wait()
        except TimeoutError:
            return

    def _on_done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        self.wake()
        if not task.cancelled() and (error := task.exception()) is not None:
            if isinstance(error, RedisError):
                return  # the commands have logged it; the claim ends by itself
            logger.error("a delivery failed", exc_info=error)

    async def _deliver_to(self, claim: Claim) -> None:
        """Send messages of a webhook until there is none, one fails, or it is others' turn."""
        job = await self._queues.next(claim)
        for number in range(_IN_A_ROW):
            if job is None:
                return
            result = await self._deliver(job)
            self.outcomes[result.outcome] += 1
            settled = result.outcome in {Outcome.DELIVERED, Outcome.DEAD}
            goes_on = settled and number < _IN_A_ROW - 1 and not self._stopping
            job = await self._queues.settle(job, result, goes_on=goes_on)

    async def _deliver(self, job: Job) -> Result:
        """Send one message, if its host and the others leave room for it."""
        try:
            target = self._targets.parse(job.url)
        except TargetError as exc:  # a setting has changed since
            return self._result(job, Answer(None, str(exc)), 0)
        is_failing = job.failing_since_ms > 0
        if is_failing and self._failing >= _FAILING:
            return Result(Outcome.BUSY, _BUSY_S)
        host, wait_s = self.hosts.enter(target.place)
        if host is None:
            return self._postponed(job, target, wait_s)
        self._failing += is_failing
        try:
            return await self._send(job, target, host)
        finally:
            self._failing -= is_failing

    def _postponed(self, job: Job, target: Target, wait_s: float) -> Result:
        if not self.hosts.is_broken(target.place):
            return Result(Outcome.BUSY, wait_s)
        since_ms = job.failing_since_ms
        if since_ms and self._schedule.is_too_old(time() - since_ms / 1000):
            return self._dead(job, f"{target.place} does not answer", job.attempts)
        return Result(Outcome.POSTPONED, wait_s)

    async def _send(self, job: Job, target: Target, host: Host) -> Result:
        loop = asyncio.get_running_loop()
        content = job.message.content(job.user)
        begun_s = loop.time()
        answer = Answer(None, "the attempt was given up", is_transport=True)
        try:
            answer = await self._sender.send(target, signed_headers(job, content, time()), content)
        finally:
            self.hosts.leave(host, answered=not answer.is_transport)
        return self._result(job, answer, int((loop.time() - begun_s) * 1000))

    def _result(self, job: Job, answer: Answer, duration_ms: int) -> Result:
        if answer.status is None and not answer.is_transport:
            self.refused += 1
            if self._log_lines.allows("refused"):
                logger.warning(
                    "%s: no connection is allowed: %s", job.claim.webhook_id, answer.error
                )
        outcome, delay_s = self._schedule.after(answer, job.attempts)
        if answer.error:
            logger.debug("%s: %s: %s", job.claim.webhook_id, outcome.value, answer.error)
        delivery: dict[str, Any] = {
            "id": job.message.id,
            "eventType": job.message.event_type,
            "attempt": job.attempts + 1,
            "at": _now_as_text(),
            "durationMs": duration_ms,
            "status": answer.status,
            "error": answer.error or None,
        }
        if outcome is Outcome.DEAD:
            return self._dead(job, answer.error, job.attempts + 1, delivery)
        return Result(outcome, delay_s, delivery)

    def _dead(
        self, job: Job, error: str, attempts: int, delivery: dict[str, Any] | None = None
    ) -> Result:
        logger.warning(
            "%s: giving up message %s after %d attempts: %s",
            job.claim.webhook_id, job.message.id, attempts, error,
        )  # fmt: skip
        letter = {"failedAt": _now_as_text(), "attempts": attempts, "error": error}
        return Result(Outcome.DEAD, delivery=delivery, letter=letter)


def _now_as_text() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

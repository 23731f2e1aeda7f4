"""Sends what waits in the queues of a shard: one message of a webhook at a time, many webhooks.

A webhook that fails is due again later and holds nothing meanwhile. Those that fail, and those
whose host has not answered yet, have at most half of the requests in flight, so that those that
work always find room.
"""

import asyncio
import logging
from datetime import UTC, datetime
from time import time
from typing import TYPE_CHECKING, Any, Final

from sse_node.errors import RedisError, TargetError
from sse_node.lifetimes.background_task import BackgroundTask
from sse_node.logs.rate_limit import OncePerSecond
from sse_node.redis.backoff import Backoff
from sse_node.webhooks.hosts import Host
from sse_node.webhooks.in_flight import InFlight
from sse_node.webhooks.queue import Claim, Job, Queues, Result
from sse_node.webhooks.schedule import Answer, Outcome, Schedule
from sse_node.webhooks.signing import signed_headers
from sse_node.webhooks.targets import Target, Targets

if TYPE_CHECKING:
    from sse_node.webhooks.sender import Sender

_CLAIMED_AT_ONCE: Final = 8  # arbitrary; Redis does nothing else while it postpones them
# Messages of a webhook that are sent without looking at other webhooks.
_IN_A_ROW: Final = 50
# How often what other processes have queued, or left behind, is looked for.
_LOOK_S: Final = 0.25
_BUSY_S: Final = 1.0

logger = logging.getLogger(__name__)


class Deliverer:
    """Delivers the messages of a shard; lives as long as the process.

    Args:
        queues: where they wait.
        targets: the rules for URLs.
        sender: the HTTP client.
        schedule: of attempts.
        in_flight: of all shards.
    """

    def __init__(
        self,
        queues: Queues,
        targets: Targets,
        sender: "Sender",
        schedule: Schedule,
        in_flight: InFlight,
    ) -> None:
        self._queues = queues
        self._targets = targets
        self._sender = sender
        self._schedule = schedule
        self._in_flight = in_flight
        self._wake = asyncio.Event()
        self._stopping = False
        self._task = BackgroundTask(self._run)
        self._log_lines = OncePerSecond()
        in_flight.follow(self.wake)

    def start(self) -> None:
        """Begin to deliver; needs a running event loop."""
        self._task.start()

    def wake(self) -> None:
        """Look for messages now."""
        self._wake.set()

    async def shutdown(self) -> None:
        """Begin nothing more; what is in flight goes on."""
        self._stopping = True
        await self._task.shutdown()

    async def _run(self) -> None:
        backoff = Backoff()
        while True:
            self._wake.clear()
            # A shard that is away holds next to nothing while it is tried.
            room = self._in_flight.reserve(_CLAIMED_AT_ONCE if self._queues.is_up else 1)
            claims, ready = None, list[Claim]()
            try:
                claims = await self._queues.claim(room) if room else []
                ready = await self._postpone(claims) if claims else []
            except RedisError:
                pass  # the commands have logged it
            finally:
                self._in_flight.claimed(room)
            if claims is None:
                await asyncio.sleep(backoff.next_s())
                continue
            backoff.reset()
            for claim in ready:
                self._in_flight.add(self._deliver_to(claim), self._on_done)
            if len(claims) < max(1, room):
                await self._wait()

    async def _postpone(self, claims: list[Claim]) -> list[Claim]:
        """Let webhooks be due later whose host takes no message now; return the other ones.

        One script postpones all of them: of a dead host there may be thousands.
        """
        try:
            receivers = await self._queues.receivers(claims)
            results = [
                (claim, result)
                for claim, receiver in zip(claims, receivers, strict=True)
                if (result := self._without_attempt(*receiver)) is not None
            ]
            postponed = await self._queues.postpone(results) if results else set()
        except RedisError:
            return claims  # each of them tries for itself
        for claim, result in results:
            self._in_flight.outcomes[result.outcome] += claim.webhook_id in postponed
        return [claim for claim in claims if claim.webhook_id not in postponed]

    def _without_attempt(self, url: str, failing_since_ms: int) -> Result | None:
        """Return the result for a host that takes no message now; None to look at the message."""
        try:
            target = self._targets.parse(url)
        except TargetError:
            return None
        if self._lacks_room(target, failing_since_ms):
            return Result(Outcome.BUSY, _BUSY_S)
        wait_s = self._in_flight.hosts.wait_s(target.place)
        if wait_s is None or self._is_dead(target, failing_since_ms):
            return None
        return self._later(target, wait_s)

    def _later(self, target: Target, wait_s: float) -> Result:
        is_broken = self._in_flight.hosts.is_broken(target.place)
        return Result(Outcome.POSTPONED if is_broken else Outcome.BUSY, wait_s)

    def _is_doubtful(self, target: Target, failing_since_ms: int) -> bool:
        return failing_since_ms > 0 or not self._in_flight.hosts.has_answered(target.place)

    def _lacks_room(self, target: Target, failing_since_ms: int) -> bool:
        in_flight = self._in_flight
        return not in_flight.has_room_for_doubtful and self._is_doubtful(target, failing_since_ms)

    def _is_dead(self, target: Target, failing_since_ms: int) -> bool:
        """Return whether a message has waited for its broken host for too long."""
        return (
            failing_since_ms > 0
            and self._in_flight.hosts.is_broken(target.place)
            and self._schedule.is_too_old(time() - failing_since_ms / 1000)
        )

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(_LOOK_S):
                await self._wake.wait()
        except TimeoutError:
            return

    def _on_done(self, task: "asyncio.Task[None]") -> None:
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
            self._in_flight.outcomes[result.outcome] += 1
            settled = result.outcome in {Outcome.DELIVERED, Outcome.DEAD}
            goes_on = settled and number < _IN_A_ROW - 1 and not self._stopping
            job = await self._queues.settle(job, result, goes_on=goes_on)

    async def _deliver(self, job: Job) -> Result:
        """Send one message, if its host and the others leave room for it."""
        try:
            target = self._targets.parse(job.url)
        except TargetError as exc:  # a setting has changed since
            return self._result(job, Answer(None, str(exc)), 0)
        if self._lacks_room(target, job.failing_since_ms):
            return Result(Outcome.BUSY, _BUSY_S)
        is_doubtful = self._is_doubtful(target, job.failing_since_ms)
        host, wait_s = self._in_flight.hosts.enter(target.place)
        if host is None:
            if self._is_dead(target, job.failing_since_ms):
                return self._dead(job, f"{target.place} does not answer", job.attempts)
            return self._later(target, wait_s)
        self._in_flight.doubtful += is_doubtful
        try:
            return await self._send(job, target, host)
        finally:
            self._in_flight.doubtful -= is_doubtful

    async def _send(self, job: Job, target: Target, host: Host) -> Result:
        loop = asyncio.get_running_loop()
        content = job.message.content(job.user)
        begun_s = loop.time()
        answer = Answer(None, "the attempt was given up", is_transport=True)
        try:
            answer = await self._sender.send(target, signed_headers(job, content, time()), content)
        finally:
            self._in_flight.hosts.leave(host, answered=not answer.is_transport)
        return self._result(job, answer, int((loop.time() - begun_s) * 1000))

    def _result(self, job: Job, answer: Answer, duration_ms: int) -> Result:
        if answer.status is None and not answer.is_transport:
            self._in_flight.refused += 1
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

"""The snapshot jobs, which any node takes.

A job is an entry of a Redis stream with a consumer group. Whoever finishes it first acknowledges
it in the same script that keeps the snapshot and publishes the event, so a job that was taken
twice is finished once, and a dead node's job is claimed by another. A consumer is removed with its
node, or by the others when it is left behind without a job.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from typing import Final

import msgspec
from redis.exceptions import ResponseError

from sse_node.errors import RedisError
from sse_node.lifetimes.background_task import BackgroundTask
from sse_node.redis.backoff import Backoff
from sse_node.redis.commands import RedisCommands, Script
from sse_node.redis.consumers import Consumers
from sse_node.redis.event_log import EventLog
from sse_node.wire.envelope import encode_envelope

_GROUP: Final = "snapshots"
_FINISH: Final = Script("tell", "log", "finish_snapshot")

_JOBS_AT_ONCE: Final = 64
_BLOCK_MS: Final = 1000
# A job is a few milliseconds of work; a consumer that holds one for this long is dead or stuck.
_CLAIM_AFTER_MS: Final = 5000

logger = logging.getLogger(__name__)

Job = tuple[bytes, dict[bytes, bytes]]


class SnapshotJobs:
    """Takes snapshot jobs and finishes them; lives as long as the node.

    Args:
        log: of the shard whose jobs these are.
        reader: a connection of its own, because reading jobs blocks for a second; None to look for
            jobs instead, every second and when told of one.
        server_id: who made a snapshot.
        consumer: the name of this process in the consumer group.
        kept: snapshots kept for each user.
        idle_s: consumers that have not read for this long and have no job are removed.
        now: returns the present time as RFC 3339 text in UTC.
    """

    def __init__(
        self,
        log: EventLog,
        reader: RedisCommands | None,
        *,
        server_id: str,
        consumer: str,
        kept: int,
        idle_s: float,
        now: Callable[[], str],
    ) -> None:
        self._commands = log.commands
        self._reader = reader or log.commands
        self._log = log
        self._keys = log.keys
        self._server_id = server_id
        self._consumer = consumer
        self._kept = kept
        self._now = now
        self._block = ("BLOCK", _BLOCK_MS) if reader is not None else ()
        self._told = asyncio.Event()
        self._consumers = Consumers(log.commands, log.keys.jobs, _GROUP, idle_s)
        self._task = BackgroundTask(self._run)
        self.finished = 0

    def start(self) -> None:
        """Begin to take jobs; needs a running event loop."""
        self._task.start()

    def tell(self) -> None:
        """There is a new job."""
        self._told.set()

    async def _wait(self) -> None:
        with contextlib.suppress(TimeoutError):
            wait_s = _BLOCK_MS / 1000 * random.uniform(0.75, 1.25)  # nodes don't come as one
            await asyncio.wait_for(self._told.wait(), wait_s)
        self._told.clear()

    async def shutdown(self) -> None:
        """Stop taking jobs; one in hand is left to be claimed if it is not finished."""
        if self._task.is_running:
            await self._task.shutdown()
            await self._consumers.remove(self._consumer)

    async def _run(self) -> None:
        backoff = Backoff()
        while True:
            try:
                await self._make_group()
                while True:
                    await self._finish_all(await self._claim())
                    jobs = await self._read()
                    await self._finish_all(jobs)
                    await self._consumers.remove_idle()
                    if not jobs and not self._block:
                        await self._wait()
                    backoff.reset()
            except RedisError:
                await asyncio.sleep(backoff.next_s())
            except Exception:
                logger.exception("snapshot jobs failed")
                await asyncio.sleep(backoff.next_s())

    async def _make_group(self) -> None:
        try:
            await self._reader.call(_create_group(self._reader, self._keys.jobs))
        except RedisError:
            logger.debug("the consumer group could not be made")
            raise

    async def _claim(self) -> list[Job]:
        arguments = (self._keys.jobs, _GROUP, self._consumer, _CLAIM_AFTER_MS, "0-0")
        reply = await self._reader.execute("XAUTOCLAIM", *arguments, "COUNT", _JOBS_AT_ONCE)
        return [job for job in reply[1] if job[1]]

    async def _read(self) -> list[Job]:
        reply = await self._reader.execute(
            *("XREADGROUP", "GROUP", _GROUP, self._consumer, "COUNT", _JOBS_AT_ONCE),
            *(*self._block, "STREAMS", self._keys.jobs, ">"),
        )
        return [job for _, jobs in reply or () for job in jobs]

    async def _finish_all(self, jobs: list[Job]) -> None:
        failure: RedisError | None = None
        for job_id, fields in jobs:
            try:
                await self._finish(job_id, fields[b"userId"].decode(), fields[b"account"])
            except RedisError as exc:  # one job that Redis refuses must not keep others waiting
                failure = exc
            except (LookupError, ValueError):
                logger.exception("dropping malformed job %s", job_id)
                await self._commands.execute("XACK", self._keys.jobs, _GROUP, job_id)
                await self._commands.execute("XDEL", self._keys.jobs, job_id)
        if failure is not None:
            raise failure

    async def _finish(self, job_id: bytes, user: str, account: bytes) -> None:
        timestamp = self._now()
        snapshot = {"account": msgspec.Raw(account), "date": timestamp, "userId": user}
        payloads = [
            encode_envelope(
                user,
                "snapshots.generated",
                msgspec.json.encode(
                    {"snapshotCount": count, "timestamp": timestamp, "serverId": self._server_id}
                ),
                broadcast=False,
            )
            for count in (1, 0)  # 0 when the user has no account any more
        ]
        finished = await self._commands.run(
            _FINISH,
            [
                self._keys.log,
                self._keys.jobs,
                self._keys.snapshots_of(user),
                self._keys.accounts_of(user),
            ],
            [
                *self._log.write_arguments(),
                _GROUP,
                job_id,
                msgspec.json.encode(snapshot),
                self._kept,
                *payloads,
            ],
        )
        self.finished += finished is not None


async def _create_group(commands: RedisCommands, stream: str) -> None:
    """Create the consumer group unless it exists."""
    try:
        await commands.client.xgroup_create(stream, _GROUP, "0", mkstream=True)
    except ResponseError as exc:
        if not str(exc).startswith("BUSYGROUP"):
            raise

"""The queues of webhooks in Redis, as what delivers them sees them.

A webhook that is due is claimed for a while; the claim is the time at which it is due again, so
that a process that ends leaves nothing behind. A claim that another process has taken over changes
nothing any more.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from sse_node.redis.commands import RedisCommands, Script
from sse_node.redis.keys import Keys
from sse_node.webhooks.message import Message, decode_message
from sse_node.webhooks.schedule import Outcome

_CLAIM: Final = Script("log", "claim_webhooks")
_LOOK: Final = Script("look_at_webhooks")
_POSTPONE: Final = Script("log", "postpone_webhooks")
_NEXT: Final = Script("log", "webhook", "next_message")
_SETTLE: Final = Script("log", "webhook", "settle_message")

# Longer than a delivery and the two commands around it.
LEASE_MS: Final = 20_000
_DELIVERIES_KEPT: Final = 100


@dataclass(frozen=True, slots=True)
class Claim:
    """A webhook that this process may deliver to.

    Attributes:
        webhook_id: its id.
        until: the claim, as Redis has it.
    """

    webhook_id: str
    until: str


@dataclass(frozen=True, slots=True)
class Job:
    """A message that is to be sent now.

    Attributes:
        claim: of its webhook.
        message: at the head of the queue.
        user: whose webhook it is.
        url: of the receiver.
        secrets: that sign, the newest first, each with the Unix ms at which it ends (0: never).
        attempts: that failed.
        failing_since_ms: Unix ms of the first failure; 0 without one.
    """

    claim: Claim
    message: Message
    user: str
    url: str
    secrets: tuple[tuple[str, int], ...]
    attempts: int
    failing_since_ms: int


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a job.

    Attributes:
        outcome: of the message.
        delay_s: to the next attempt.
        delivery: the attempt, to be shown; None for none.
        letter: what is kept of a dead letter beside its message.
    """

    outcome: Outcome
    delay_s: float = 0.0
    delivery: dict[str, Any] | None = None
    letter: dict[str, Any] | None = None


class Queues:
    """Takes messages and settles them; lives as long as the process.

    Args:
        commands: the process's connections to Redis.
        keys: of the namespace.
        limits: as `WebhooksSettings.queue_limits`.
    """

    def __init__(self, commands: RedisCommands, keys: Keys, limits: str) -> None:
        self._commands = commands
        self._keys = keys
        self._limits = limits

    @property
    def is_up(self) -> bool:
        """Whether Redis has answered the last command."""
        return self._commands.up

    async def claim(self, most: int) -> list[Claim]:
        """Claim up to `most` webhooks that are due."""
        found: list[bytes] = await self._commands.run(
            _CLAIM, [self._keys.webhooks_due], [most, LEASE_MS]
        )
        return list(_claims(found))

    async def receivers(self, claims: Sequence[Claim]) -> list[tuple[str, int]]:
        """Return the URL of each claimed webhook, and the Unix ms since which it fails.

        The URL is empty where the webhook is gone, the time 0 where it does not fail.
        """
        keys = [self._keys.webhook(claim.webhook_id) for claim in claims]
        return [
            ((url or b"").decode(), int(failing_since or 0))
            for url, failing_since in await self._commands.run(_LOOK, keys, [])
        ]

    async def postpone(self, results: Sequence[tuple[Claim, Result]]) -> set[str]:
        """Let claimed webhooks be due later; return their ids.

        A webhook whose queue is empty, or whose claim is over, stays as it is.
        """
        keys, arguments = [self._keys.webhooks_due], list[str | int]()
        for claim, result in results:
            webhook_id = claim.webhook_id
            keys += (self._keys.webhook(webhook_id), self._keys.webhook_queue(webhook_id))
            arguments += (webhook_id, claim.until, int(result.delay_s * 1000), result.outcome.value)
        postponed: list[bytes] = await self._commands.run(_POSTPONE, keys, arguments)
        return {webhook_id.decode() for webhook_id in postponed}

    async def next(self, claim: Claim) -> Job | None:
        """Return the message at the head of a claimed webhook's queue, None for nothing to do."""
        reply = await self._commands.run(
            _NEXT, self._queue_keys(claim), [claim.webhook_id, claim.until, LEASE_MS]
        )
        return _job(claim, reply)

    async def settle(self, job: Job, result: Result, *, goes_on: bool) -> Job | None:
        """Record what came of a job; return the next one of its webhook, when it goes on."""
        webhook_id = job.claim.webhook_id
        letter = msgspec.json.encode(result.letter)[:-1] + b',"message":' if result.letter else b""
        reply = await self._commands.run(
            _SETTLE,
            [
                *self._queue_keys(job.claim),
                self._keys.webhook_deliveries(webhook_id),
                self._keys.webhook_dead_letters(webhook_id),
            ],
            [
                webhook_id,
                job.claim.until,
                LEASE_MS if goes_on else 0,
                result.outcome.value,
                int(result.delay_s * 1000),
                msgspec.json.encode(result.delivery) if result.delivery else b"",
                _DELIVERIES_KEPT,
                letter,
                self._limits,
            ],
        )
        return _job(job.claim, reply)

    def _queue_keys(self, claim: Claim) -> list[str]:
        return [
            self._keys.webhook(claim.webhook_id),
            self._keys.webhook_queue(claim.webhook_id),
            self._keys.webhooks_due,
            self._keys.webhooks_state,
        ]


def _claims(found: list[bytes]) -> Iterator[Claim]:
    for webhook_id, until in zip(found[::2], found[1::2], strict=True):
        yield Claim(webhook_id.decode(), until.decode())


def _job(claim: Claim, reply: list[Any] | None) -> Job | None:
    if reply is None:
        return None
    until, message, fields = reply
    user, url, secret, old_secret, old_until, attempts, failing_since = (
        "" if field is None else field.decode() for field in fields
    )
    secrets = [(secret, 0)]
    if old_secret:
        secrets.append((old_secret, int(old_until)))
    return Job(
        Claim(claim.webhook_id, until.decode()),
        decode_message(message),
        user,
        url,
        tuple(secrets),
        int(attempts or 0),
        int(failing_since or 0),
    )

"""The webhooks in Redis: each change is one atomic step.

A user's webhooks are in the user's shard, whose number is the end of their ids.
"""

import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from sse_node.redis.commands import NotAfter, Script
from sse_node.redis.event_log import IDEMPOTENCY_KEEP_MS, EventLog
from sse_node.redis.event_logs import EventLogs
from sse_node.redis.keys import Keys

_CREATE: Final = Script("log", "ids", "webhook_group", "create_webhook")
_LIST: Final = Script("list_webhooks")
_UPDATE: Final = Script("log", "webhook", "update_webhook")
_DELETE: Final = Script("log", "webhook", "delete_webhook")
_TEST: Final = Script("log", "webhook", "queue_test_message")
_REPLAY: Final = Script("log", "webhook", "replay_dead_letters")

# How long a secret that was replaced still signs beside the new one.
ROTATION_MS: Final = 24 * 60 * 60 * 1000
_ID: Final = re.compile(r"wh_[0-9a-f]{24}")


def new_id(shard: int = 0) -> str:
    """Return an id that nobody can guess, for a webhook in a shard."""
    return f"wh_{secrets.token_hex(11)}{shard:02x}"


def is_id(text: str) -> bool:
    """Return whether `text` can be the id of a webhook."""
    return _ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a webhook.

    Attributes:
        fields: of the hash that are set.
        events: event types; None for no change.
        secret: a new one; empty for none.
        old_until_ms: until when the present secret is good, too, in Unix ms.
        tries: True: attempts begin again now; False: they stop; None for no change.
    """

    fields: dict[str, str]
    events: list[str] | None = None
    secret: str = ""
    old_until_ms: int = 0
    tries: bool | None = None


class WebhookRegistry:
    """Keeps webhooks; lives as long as the node.

    Args:
        logs: of all shards, whose events the webhooks get.
        queue_limits: as `WebhooksSettings.queue_limits`, of a shard.
        per_user: the most webhooks of one user.
    """

    def __init__(self, logs: EventLogs, queue_limits: str, per_user: int) -> None:
        self._logs = logs
        self._queue_limits = queue_limits
        self._per_user = per_user

    def new_id(self, user: str) -> str:
        """Return an id for a webhook of a user."""
        return new_id(self._logs.shard_of(user))

    def _log_of(self, webhook_id: str) -> EventLog:
        """Return the log whose events a webhook gets."""
        return self._logs[int(webhook_id[-2:], 16) % len(self._logs)]

    async def create(
        self, fields: dict[str, str], answer: bytes, idempotency: str, content: bytes
    ) -> bytes | None:
        """Create a webhook; return the answer, the first one of a repeated request.

        Args:
            fields: of its hash; `id`, `user` and `events`, as JSON, among them.
            answer: to be remembered.
            idempotency: the name of an idempotency key's record, or empty.
            content: what the client has sent, to compare with that of a repeated request.

        Returns:
            None when the user has too many.

        Raises:
            RedisError: nothing has been created, as far as this node can know.
            RequestError: 422, the key was used with another content.
        """
        log = self._logs.of_user(fields["user"])
        answered: bytes | int = await log.commands.run(
            _CREATE,
            [
                log.keys.log,
                log.keys.webhook(fields["id"]),
                log.keys.webhooks_of(fields["user"]),
                log.keys.webhooks,
                log.keys.webhooks_state,
                *log.keys.idempotency_record(idempotency),
            ],
            [
                NotAfter.DEADLINE,
                IDEMPOTENCY_KEEP_MS,
                content,
                answer,
                self._per_user,
                fields["id"],
                fields["events"],
                *_flat(fields),
            ],
        )
        return answered if isinstance(answered, bytes) else None

    async def owner(self, webhook_id: str) -> str | None:
        """Return the user of a webhook, None when there is no such webhook."""
        if not is_id(webhook_id):
            return None
        log = self._log_of(webhook_id)
        user: bytes | None = await log.commands.execute(
            "HGET", log.keys.webhook(webhook_id), "user"
        )
        return None if user is None else user.decode()

    async def get(self, ids: Sequence[str]) -> list[dict[str, str]]:
        """Return webhooks of one user by their ids, without those that are gone.

        Each is its hash, with the numbers of `queued` messages and of `dead` letters.
        """
        if not ids:
            return []
        log = self._log_of(ids[0])
        keys = [
            key
            for webhook_id in ids
            for key in (
                log.keys.webhook(webhook_id),
                log.keys.webhook_queue(webhook_id),
                log.keys.webhook_dead_letters(webhook_id),
            )
        ]
        found: list[Any] = await log.commands.run(_LIST, keys, [])
        return [
            dict(_pairs(fields)) | {"queued": str(queued), "dead": str(dead)}
            for fields, queued, dead in found
            if fields
        ]

    async def list_of(self, user: str) -> list[dict[str, str]]:
        """Return a user's webhooks, the oldest first."""
        log = self._logs.of_user(user)
        ids: list[bytes] = await log.commands.execute("HKEYS", log.keys.webhooks_of(user))
        webhooks = await self.get([webhook_id.decode() for webhook_id in ids])
        return sorted(webhooks, key=lambda webhook: (webhook["created_at"], webhook["id"]))

    async def update(self, webhook_id: str, user: str, change: Change) -> bool:
        """Change a webhook; return whether there is one."""
        log = self._log_of(webhook_id)
        tries = "" if change.tries is None else int(change.tries)
        changed = await log.commands.run(
            _UPDATE,
            [
                log.keys.webhook(webhook_id),
                log.keys.webhooks_of(user),
                log.keys.webhooks_due,
                log.keys.log,
            ],
            [
                NotAfter.DEADLINE,
                webhook_id,
                "" if change.events is None else msgspec.json.encode(change.events),
                change.secret,
                change.old_until_ms,
                tries,
                *_flat(change.fields),
            ],
        )
        return changed is not None

    async def delete(self, webhook_id: str, user: str) -> bool:
        """Delete a webhook with what waits for it; return whether there was one."""
        log = self._log_of(webhook_id)
        keys = [
            log.keys.webhook(webhook_id),
            log.keys.webhooks_of(user),
            log.keys.webhooks,
            log.keys.webhooks_due,
            log.keys.webhooks_state,
            log.keys.webhook_queue(webhook_id),
            log.keys.webhook_dead_letters(webhook_id),
            log.keys.webhook_deliveries(webhook_id),
        ]
        deleted = await log.commands.run(_DELETE, keys, [NotAfter.DEADLINE, webhook_id])
        return bool(deleted)

    async def queue_test(self, webhook_id: str, message: bytes) -> bool | None:
        """Queue a message for one webhook.

        Returns:
            False when it is disabled or has no room, None when there is no such webhook.
        """
        log = self._log_of(webhook_id)
        arguments = (NotAfter.DEADLINE, self._queue_limits, webhook_id, message)
        queued = await log.commands.run(_TEST, _queue_keys(log.keys, webhook_id), arguments)
        return None if queued is None else bool(queued)

    async def replay(self, webhook_id: str, message_id: str) -> int | None:
        """Queue dead letters again; return how many, None when there is no such webhook.

        Args:
            webhook_id: whose.
            message_id: of one; empty for all.
        """
        log = self._log_of(webhook_id)
        keys = [*_queue_keys(log.keys, webhook_id), log.keys.webhook_dead_letters(webhook_id)]
        arguments = (NotAfter.DEADLINE, self._queue_limits, webhook_id, message_id)
        replayed: int | None = await log.commands.run(_REPLAY, keys, arguments)
        return replayed

    async def deliveries(self, webhook_id: str) -> list[bytes]:
        """Return the latest attempts as JSON, newest first."""
        log = self._log_of(webhook_id)
        return await _range(log, log.keys.webhook_deliveries(webhook_id), 0, -1)

    async def dead_letters(self, webhook_id: str, count: int) -> list[bytes]:
        """Return the newest `count` dead letters as JSON, the oldest of these first."""
        log = self._log_of(webhook_id)
        return await _range(log, log.keys.webhook_dead_letters(webhook_id), -count, -1)


async def _range(log: EventLog, key: str, first: int, last: int) -> list[bytes]:
    items: list[bytes] = await log.commands.execute("LRANGE", key, first, last)
    return items


def _queue_keys(keys: Keys, webhook_id: str) -> list[str]:
    return [
        keys.webhook(webhook_id),
        keys.webhooks_due,
        keys.webhooks_state,
        keys.webhook_queue(webhook_id),
    ]


def _flat(fields: dict[str, str]) -> list[str]:
    return [text for pair in fields.items() for text in pair]


def _pairs(flat: Sequence[bytes]) -> Iterator[tuple[str, str]]:
    for name, value in zip(flat[::2], flat[1::2], strict=True):
        yield name.decode(), value.decode()

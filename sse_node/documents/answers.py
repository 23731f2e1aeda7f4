"""The shapes of answers, for the documents; the routes write most of them as JSON from Redis."""

from typing import Any, Literal

import msgspec


class Account(msgspec.Struct, rename="camel"):
    """An account."""

    id: int
    name: str
    balance: int | float
    user_id: str
    created_at: str


class AccountChange(msgspec.Struct, rename="camel"):
    """One change of an account, and the version that it made."""

    version: int
    event_type: Literal["account.created", "account.updated"]
    at: str
    changes: dict[str, str | int | float]


class Snapshot(msgspec.Struct, rename="camel"):
    """An account as it was when a snapshot job ran."""

    account: Account
    date: str
    user_id: str


class Published(msgspec.Struct):
    """The ids of the events, in order; null for a volatile one."""

    ids: list[str | None]


class Revoked(msgspec.Struct, omit_defaults=True):
    """Whose access has ended, and until when, in Unix seconds."""

    until: int
    user: str | msgspec.UnsetType = msgspec.UNSET
    jti: str | msgspec.UnsetType = msgspec.UNSET


class Alive(msgspec.Struct, rename="camel"):
    """The node serves."""

    status: Literal["ok", "ready"]
    server_id: str


class Problem(msgspec.Struct):
    """Why a request was not carried out (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str


class StreamItem(msgspec.Struct, omit_defaults=True):
    """One event of a stream (WHATWG HTML, Server-sent events)."""

    data: str
    event: str | msgspec.UnsetType = msgspec.UNSET
    id: str | msgspec.UnsetType = msgspec.UNSET
    retry: int | msgspec.UnsetType = msgspec.UNSET


class Gap(msgspec.Struct, rename={"from_": "from"}):
    """Events that a webhook does not get; how many may be unknown."""

    from_: str
    until: str
    count: int | None


class Webhook(msgspec.Struct, rename="camel"):
    """A webhook."""

    id: str
    user_id: str
    url: str
    events: list[str]
    enabled: bool
    disabled_reason: str | None
    created_at: str
    failed_attempts: int
    queued: int
    dead_letters: int
    missed_events: int
    open_gap: Gap | None


class WebhookWithSecret(Webhook, omit_defaults=True):
    """A webhook with a new secret, which is shown once."""

    secret: str | msgspec.UnsetType = msgspec.UNSET


class Delivery(msgspec.Struct, rename="camel"):
    """One attempt to deliver a message."""

    id: str
    event_type: str
    attempt: int
    at: str
    duration_ms: int
    status: int | None
    error: str | None


class DeadLetter(msgspec.Struct, rename="camel"):
    """A message that was not delivered, and why."""

    failed_at: str
    attempts: int
    error: str
    message: dict[str, Any]


class Queued(msgspec.Struct):
    """The id of a message that is on its way."""

    id: str


class Replayed(msgspec.Struct):
    """How many messages are on their way again."""

    replayed: int

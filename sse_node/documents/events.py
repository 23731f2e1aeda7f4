"""The events that a node publishes itself, and where each kind of event goes."""

from typing import Any, Final, Literal

import msgspec

from sse_node.documents.answers import Account


class AccountCreated(msgspec.Struct, rename="camel"):
    """An account was created."""

    account_id: int
    account: Account


class Changes(msgspec.Struct, omit_defaults=True):
    """The members that were set."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    balance: int | float | msgspec.UnsetType = msgspec.UNSET


class AccountUpdated(msgspec.Struct, rename="camel"):
    """An account was changed."""

    account_id: int
    changes: Changes


class BalanceChanged(msgspec.Struct):
    """The balance of an account moved."""

    account_id: int = msgspec.field(name="accountId")
    from_: int | float = msgspec.field(name="from")
    to: int | float


class AccountDeleted(msgspec.Struct, rename="camel"):
    """An account was deleted."""

    account_id: int


class SnapshotsGenerated(msgspec.Struct, rename="camel"):
    """A snapshot job is done."""

    snapshot_count: int
    timestamp: str
    server_id: str


class Opened(msgspec.Struct, rename="camel"):
    """The stream is open."""

    server_id: str
    resumed: bool
    replayed: int


class Reset(msgspec.Struct):
    """Events may be missing: load your state again."""

    reason: Literal["trimmed", "unknown-id", "bad-id", "rollback", "unavailable"]


class Closed(msgspec.Struct):
    """Access has ended; the stream does, too."""

    reason: Literal["token-expired", "revoked", "replaced"]


class Ping(msgspec.Struct, rename="camel"):
    """The node and the way to it are alive."""

    type: str
    server_id: str
    timestamp: int


EVENTS: Final[dict[str, Any]] = {
    "account.created": AccountCreated,
    "account.updated": AccountUpdated,
    "balance.changed": BalanceChanged,
    "account.deleted": AccountDeleted,
    "snapshots.generated": SnapshotsGenerated,
}
"""The data of the events of accounts, by event type."""

OWN_EVENTS: Final[dict[str, Any]] = {
    "sse.open": Opened,
    "sse.reset": Reset,
    "sse.closed": Closed,
    "ping": Ping,
}
"""The data of the events that only streams have, by the `event` field."""

"""Every key and channel of Redis that sse-node uses, built from one prefix.

The prefix keeps nodes apart that share a server: `NAME:` for `--namespace NAME`, and `dbN:` for a
database N other than 0, because Pub/Sub does not know databases. Scripts derive the prefix of
channels from the key of the event log, so both always agree. Inside a node, channels have their
plain names, which are also those in the event log.

Each of several shards has keys and channels of its own: `shardN{TAG}:` follows the prefix, and the
tag puts all of them into one slot of a cluster. Scripts see by it that messages of this log go by
sharded Pub/Sub.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Final

from sse_node.wire.sharding import tag_of

LOG_KEY: Final = "sse:log"
REVOCATIONS: Final = "sse:revocations"
"""The channel of revocations, and their key."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys and channels of one namespace.

    Attributes:
        prefix: of each; empty, or ending with a colon. May contain a hash tag.
    """

    prefix: str = ""

    @property
    def log(self) -> str:
        """The event log, a stream."""
        return self.prefix + LOG_KEY

    @property
    def rollback(self) -> str:
        """The newest mark of a rollback, a string."""
        return f"{self.prefix}sse:rollback"

    @property
    def jobs(self) -> str:
        """The snapshot jobs, a stream."""
        return f"{self.prefix}sse:jobs"

    @property
    def revocations(self) -> str:
        """The users and tokens whose access is revoked, a sorted set."""
        return self.prefix + REVOCATIONS

    @property
    def account_counter(self) -> str:
        """The id of the newest account, a string."""
        return f"{self.prefix}sse:account-counter"

    def account(self, account_id: int) -> str:
        """One account, a hash."""
        return f"{self.prefix}sse:account:{account_id}"

    @property
    def moved_accounts(self) -> str:
        """The shards of accounts that had their ids before there were shards, a hash."""
        return f"{self.prefix}sse:moved-accounts"

    def account_history(self, account_id: int) -> str:
        """The changes of one account, a list."""
        return f"{self.prefix}sse:account-history:{account_id}"

    def accounts_of(self, user: str) -> str:
        """The ids of a user's accounts, a sorted set."""
        return f"{self.prefix}sse:accounts:{user}"

    def snapshots_of(self, user: str) -> str:
        """A user's snapshots, a list."""
        return f"{self.prefix}sse:snapshots:{user}"

    @property
    def webhooks(self) -> str:
        """The ids of all webhooks, a sorted set by the time of their creation."""
        return f"{self.prefix}sse:webhooks"

    @property
    def webhooks_due(self) -> str:
        """The webhooks with something to send, a sorted set by the time of the next attempt."""
        return f"{self.prefix}sse:webhooks-due"

    @property
    def webhooks_state(self) -> str:
        """What all webhooks share: bytes that wait, and a gap that is to be recorded, a hash."""
        return f"{self.prefix}sse:webhooks-state"

    def webhooks_of(self, user: str) -> str:
        """A user's webhooks, a hash of their event types as JSON by their ids."""
        return f"{self.prefix}sse:webhooks:{user}"

    def webhook(self, webhook_id: str) -> str:
        """One webhook, a hash."""
        return f"{self.prefix}sse:webhook:{webhook_id}"

    def webhook_queue(self, webhook_id: str) -> str:
        """The messages that a webhook has yet to get, a list."""
        return f"{self.prefix}sse:webhook-queue:{webhook_id}"

    def webhook_deliveries(self, webhook_id: str) -> str:
        """A webhook's latest attempts, newest first, a list."""
        return f"{self.prefix}sse:webhook-deliveries:{webhook_id}"

    def webhook_dead_letters(self, webhook_id: str) -> str:
        """The messages that a webhook did not get, a list."""
        return f"{self.prefix}sse:webhook-dead-letters:{webhook_id}"

    def idempotency_claim(self, name: str) -> str:
        """What an idempotency key was used for in all shards, a string."""
        return f"{self.prefix}sse:idempotency-claim:{name}"

    @property
    def shards(self) -> str:
        """How many shards the deployment has, a string; only with the keys of all shards."""
        return f"{self.prefix}sse:shards"

    def idempotency_record(self, name: str) -> list[str]:
        """What an idempotency key needs: one hash, or nothing for an empty name."""
        return [f"{self.prefix}sse:idempotency:{name}"] if name else []

    def source(self, name: str) -> str:
        """How far the parts of a bridge's source have come, a hash."""
        return f"{self.prefix}sse:source:{name}"

    def probe(self, process: str) -> str:
        """The probe of a process, a string."""
        return self.prefix + probe_channel(process)

    def channel(self, name: str) -> str:
        """The Pub/Sub channel of a plain name."""
        return self.prefix + name


def keys_of(namespace: str, database: int) -> Keys:
    """Return the keys of a namespace, empty for the server's own, on a database; of all shards."""
    return Keys(f"{namespace}:" * bool(namespace) + f"db{database}:" * bool(database))


def shard_keys(keys: Keys, shards: int, *, in_cluster: bool = False) -> list[Keys]:
    """Return the keys of each shard; those of a single one outside a cluster are the server's own.

    Args:
        keys: of the namespace.
        shards: how many there are, one of `SHARD_COUNTS`.
        in_cluster: the keys of a shard have to be in one slot.
    """
    if shards == 1 and not in_cluster:
        return [keys]
    numbers = range(shards)
    return [Keys(f"{keys.prefix}shard{each}{{{tag_of(each, shards)}}}:") for each in numbers]


def idempotency_name(operation: str, caller: str, key: str) -> str:
    """Return the name of an idempotency key's record; empty for an empty key.

    Args:
        operation: the method and the route, or the command. It has keys of its own.
        caller: who has chosen the key. Callers cannot name, block or guess each other's records.
            Without authentication it is the user that the request is about, empty for several; the
            name of an authenticated caller belongs here.
        key: as the caller has it.
    """
    scope = json.dumps([operation, caller, key]).encode()
    return hashlib.sha256(scope).hexdigest() if key else ""


def probe_channel(process: str) -> str:
    """Return the plain name of the channel on which a process hears its own probes."""
    return f"sse:probe:{process}"

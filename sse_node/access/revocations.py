"""Users and tokens whose access has been revoked, until a time; kept in Redis.

Every node has the whole table in memory: it reads it after each subscription, and hears of each
change on a channel. A record is removed when its time is over.
"""

from collections.abc import Callable
from time import time
from typing import Final

from sse_node.redis.commands import RedisCommands, Script
from sse_node.redis.keys import REVOCATIONS, Keys
from sse_node.wire.identity import Identity

# Tokens of a day are long-lived ones already; "until" says otherwise. Arbitrary.
DEFAULT_S: Final = 24 * 3600
_REVOKE: Final = Script("tell", "revoke")
# Of records that are over, before they are removed from memory. Arbitrary.
_MAX_OVER: Final = 1024


def name_of_user(user: str) -> str:
    """Return the name under which a user is revoked."""
    return f"user:{user}"


def name_of_token(token_id: str) -> str:
    """Return the name under which a token is revoked by its `jti`."""
    return f"jti:{token_id}"


class Revocations:
    """The table of this node; lives as long as it.

    Args:
        commands: the node's connections to Redis.
        keys: of the node's namespace.
        on_revoked: called with each name that is revoked from now on; must not raise.
        now: returns the Unix time.

    Attributes:
        is_loaded: whether the table has been read since the node was started.
    """

    def __init__(
        self,
        commands: RedisCommands,
        keys: Keys,
        on_revoked: Callable[[str], None],
        now: Callable[[], float] = time,
    ) -> None:
        self._commands = commands
        self._keys = keys
        self._on_revoked = on_revoked
        self._now = now
        self._until: dict[str, float] = {}
        # What has been heard since a reading began; None while nothing is read.
        self._heard: dict[str, float] | None = None
        self._prune_at = _MAX_OVER
        self.is_loaded = False

    def __len__(self) -> int:
        return len(self._until)

    def covers(self, identity: Identity) -> bool:
        """Return whether a caller's user or token is revoked at the moment."""
        if not self._until:
            return False
        names = [name_of_user(identity.user)] if identity.user is not None else []
        if identity.token_id:
            names.append(name_of_token(identity.token_id))
        now = self._now()
        return any(self._until.get(name, 0) > now for name in names)

    async def revoke(self, name: str, until_s: float) -> None:
        """Revoke a user or token on every node, until a Unix time; one that is past ends it.

        Raises:
            RedisError: Redis is away; nothing has been revoked as far as this node can know.
        """
        await self._commands.run(
            _REVOKE,
            [self._keys.revocations],
            [int(self._now()), int(until_s), name, REVOCATIONS],
        )
        self._apply(name, int(until_s))

    async def load(self) -> None:
        """Read the whole table; what is heard meanwhile is newer than the answer.

        Raises:
            RedisError: Redis is away.
        """
        heard = self._heard = {}
        try:
            reply: list[bytes] = await self._commands.execute(
                "ZRANGEBYSCORE", self._keys.revocations, int(self._now()), "+inf", "WITHSCORES"
            )
        finally:
            self._heard = None
        table = {
            name.decode("utf-8", "replace"): float(until)
            for name, until in zip(reply[::2], reply[1::2], strict=True)
        } | heard
        now = self._now()
        table = {name: until for name, until in table.items() if until > now}
        new = table.keys() - self._until.keys()
        self._until, self._prune_at = table, len(table) + _MAX_OVER
        self.is_loaded = True
        for name in new:
            self._on_revoked(name)

    def on_message(self, payload: bytes) -> None:
        """A revocation has been published: `UNTIL NAME`."""
        until, _, name = payload.decode("utf-8", "replace").partition(" ")
        if name and until.isascii() and until.isdigit() and len(until) < 16:
            self._apply(name, int(until))

    def _apply(self, name: str, until_s: float) -> None:
        now = self._now()
        if self._heard is not None:
            self._heard[name] = until_s
        if until_s <= now:
            self._until.pop(name, None)
            return
        self._until[name] = until_s
        if len(self._until) > self._prune_at:
            self._until = {each: until for each, until in self._until.items() if until > now}
            self._prune_at = 2 * len(self._until) + _MAX_OVER
        self._on_revoked(name)

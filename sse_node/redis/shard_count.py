"""How many shards a deployment has: the first process that has several says so in Redis.

Another number of shards would look for users where they are not, so it is refused. One shard is
said by nothing, or by a log under the server's own names.
"""

from collections.abc import Awaitable, Callable

from redis.exceptions import NoPermissionError

from sse_node.errors import RedisError, ShardCountError
from sse_node.redis.commands import RedisCommands
from sse_node.redis.keys import Keys


async def check_shard_count(
    commands: RedisCommands, keys: Keys, shards: int, *, in_cluster: bool = False
) -> None:
    """Compare the number of shards with that in Redis; write it where there is none yet.

    Args:
        commands: to the server of these keys.
        keys: of all shards, the namespace's.
        shards: as the settings say.
        in_cluster: there is no log under the server's own names.

    Raises:
        ShardCountError: Redis has another one.
        RedisError: Redis is away.
    """
    stored: bytes | None = await commands.execute("GET", keys.shards)
    if stored is None and (shards > 1 or in_cluster):
        if not in_cluster and await commands.execute("EXISTS", keys.log):
            stored = b"1"
        elif not await commands.execute("SET", keys.shards, shards, "NX"):
            stored = await commands.execute("GET", keys.shards)
    if stored is not None and stored != b"%d" % shards:
        raise ShardCountError(shards, stored.decode())


async def if_redis_answers(check: Callable[[], Awaitable[None]]) -> None:
    """Do the same where Redis answers: at the start of a node, and with each subscription.

    In a cluster the number may be on a server that is away, and shards are not.

    Args:
        check: calls `check_shard_count`.

    Raises:
        ShardCountError: Redis has another one.
    """
    try:
        await check()
    except ShardCountError:
        raise
    except RedisError:  # the commands have logged it
        return


async def read_shard_count(commands: RedisCommands, keys: Keys) -> int:
    """Return how many shards the deployment has, as nodes have said.

    Args:
        commands: to the server of these keys.
        keys: of all shards, the namespace's.

    Raises:
        RedisError: Redis is away.
    """
    try:
        stored: bytes | None = await commands.execute("GET", keys.shards)
    except RedisError as exc:
        if not isinstance(exc.__cause__, NoPermissionError):
            raise
        return 1  # an ACL from before there were shards
    return int(stored or 1)

"""The command `copy-shards`."""

import sys

import click

from sse_node.cli.exits import EXIT_CONFIG, EXIT_FAILED, fail
from sse_node.cli.options import settings_beside_nodes, settings_options
from sse_node.errors import ConfigError, RedisError
from sse_node.logs.format import configure_logging
from sse_node.wire.sharding import SHARD_COUNTS


@click.command("copy-shards")
@click.option("--to-redis-url", help="Redis to copy to; by default the one that is copied from.")
@click.option(
    "--to-shards",
    required=True,
    type=click.Choice([str(count) for count in SHARD_COUNTS]),
    help="How many shards there shall be.",
)
@settings_options("redis_url", "namespace", "redis_timeout", "log_length", "log_bytes")
def copy_shards(to_redis_url: str | None, to_shards: str, **flags: str | None) -> None:
    """Copy a deployment of one shard to one of several, while no node runs, and count both.

    Copies the log, accounts with their histories, snapshots, jobs, revocations, and the positions
    of bridges; what is copied from stays. Exits with 1 if the counts differ: then nodes cannot
    start with the new number.
    """
    from sse_node.cli import copy_shards as command

    try:
        settings = settings_beside_nodes(flags)
        configure_logging("critical", "text", "copy-shards")
        target = to_redis_url or settings.redis.url
        if not command.copy_shards(settings, target, int(to_shards), click.echo):
            sys.exit(EXIT_FAILED)
    except ConfigError as exc:
        fail(str(exc), EXIT_CONFIG)
    except RedisError as exc:
        fail(str(exc), EXIT_FAILED)

"""The command `webhooks`."""

import click

from sse_node.cli.exits import EXIT_CONFIG, fail
from sse_node.cli.options import settings_beside_nodes, settings_options
from sse_node.errors import ConfigError
from sse_node.logs.format import configure_logging


@click.command()
@settings_options(
    "host", "webhook_port", "server_id", "log_level", "log_format", "redis_url", "namespace",
    "redis_timeout", "redis_connections", "webhook_allow_http", "webhook_allow_hosts",
    "webhook_ports", "webhook_retry_time", "webhook_queue", "webhook_queue_bytes",
    "webhook_queue_total",
)  # fmt: skip
def webhooks(**flags: str | None) -> None:
    """Deliver webhooks until SIGINT or SIGTERM; run as many of these as you like.

    Needs the extra: pip install 'sse-node[webhooks]'.
    """
    try:
        settings = settings_beside_nodes(flags)
        from sse_node.cli.webhooks_process import run_webhooks

        configure_logging(settings.logs.level, settings.logs.format, settings.node.server_id)
        run_webhooks(settings)
    except ModuleNotFoundError as exc:
        fail(f"{exc.name} is missing: pip install 'sse-node[webhooks]'", EXIT_CONFIG)
    except ConfigError as exc:
        fail(str(exc), EXIT_CONFIG)

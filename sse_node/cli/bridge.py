"""The commands `bridge kafka` and `bridge amqp`."""

import os
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any, Final

import click

from sse_node.cli.exits import EXIT_CONFIG, EXIT_FAILED, fail
from sse_node.cli.options import section_options, settings_beside_nodes, settings_options
from sse_node.config.bridges import AmqpSettings, BridgeSettings, KafkaSettings
from sse_node.config.reading import Sources
from sse_node.errors import BridgeError, BrokerError, ConfigError, RedisError
from sse_node.logs.format import configure_logging

_NODE_SETTINGS: Final = (
    "redis_url", "namespace", "redis_timeout", "log_length", "log_bytes", "max_event_bytes",
    "channels", "server_id", "log_level", "log_format",
)  # fmt: skip

_check = click.option(
    "--check",
    is_flag=True,
    help="Connect, read one record, print what would be published, and change nothing.",
)


@click.group()
def bridge() -> None:
    """Publish what comes from a broker, each record once."""


@bridge.command()
@_check
@section_options(KafkaSettings, BridgeSettings)
@settings_options(*_NODE_SETTINGS)
def kafka(check: bool, **flags: str | None) -> None:
    """Publish the records of Kafka topics to streams, in the order of their partitions.

    Run as many as there are partitions, of one --group.
    """
    _run("kafka", KafkaSettings, flags, check=check)


@bridge.command()
@_check
@section_options(AmqpSettings, BridgeSettings)
@settings_options(*_NODE_SETTINGS)
def amqp(check: bool, **flags: str | None) -> None:
    """Publish the messages of a RabbitMQ queue or stream to streams.

    Several bridges may share a queue; then its messages may come in another order.
    """
    _run("amqp", AmqpSettings, flags, check=check)


def _run(name: str, section: type[Any], flags: Mapping[str, str | None], *, check: bool) -> None:
    try:
        settings = settings_beside_nodes(flags)
        sources = Sources(flags, os.environ)
        bridge_settings, source = sources.read(BridgeSettings), sources.read(section)
        level = "critical" if check else settings.logs.level
        configure_logging(level, settings.logs.format, f"bridge-{name}")
        _run_module(name).run(settings, bridge_settings, source, check=check)
    except ConfigError as exc:
        fail(str(exc), EXIT_CONFIG)
    except (BridgeError, BrokerError, RedisError) as exc:
        fail(str(exc), EXIT_FAILED)


def _run_module(name: str) -> ModuleType:
    """Return the module that runs a kind of bridge; its library is an extra."""
    try:
        return import_module(f"sse_node.bridges.run_{name}")
    except ModuleNotFoundError as exc:
        fail(f"bridge {name}: {exc.name} is missing; pip install 'sse-node[{name}]'", EXIT_CONFIG)

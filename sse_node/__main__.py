"""The command line: `sse-node serve`, `webhooks`, `check-config`, `publish`, `tail` and others.

A command imports what it runs when it runs: the supervisor of workers lives for as long as they do,
and is half as large without a node in it.
"""

import json
import logging
import os
import sys
from typing import Any

import click
import msgspec

from sse_node import __version__
from sse_node.api.parameters import IDEMPOTENCY_KEY_EXPECTED, is_idempotency_key
from sse_node.cli.bridge import bridge
from sse_node.cli.copying import copy_shards
from sse_node.cli.exits import EXIT_CONFIG, EXIT_FAILED, fail
from sse_node.cli.nginx import nginx
from sse_node.cli.options import settings_of, settings_options
from sse_node.cli.webhooks import webhooks
from sse_node.config.reading import (
    Sources,
    check_variables,
    platform_variables,
    read_listen_settings,
    unknown_variables,
)
from sse_node.config.redis_url import parse_redis_url
from sse_node.config.reload import SettingsSource
from sse_node.config.sections import Settings
from sse_node.errors import ConfigError, RedisError, RequestError, StreamClosedError
from sse_node.logs.format import configure_logging
from sse_node.node.control import process_name, take_worker_config
from sse_node.node.service_manager import ServiceManager
from sse_node.node.supervisor import Supervisor
from sse_node.redis.keys import keys_of
from sse_node.wire.depth import MAX_DEPTH, TOO_DEEP, is_deeper
from sse_node.wire.envelope import (
    EVENT_TYPE_EXPECTED,
    USER_ID_EXPECTED,
    encode_envelope,
    is_event_type,
    is_user_id,
)

logger = logging.getLogger(__name__)


def _read_settings(flags: dict[str, str | None]) -> Settings:
    try:
        return settings_of(flags)
    except ConfigError as exc:
        fail(str(exc), EXIT_CONFIG)


def _prefix_of(settings: Settings) -> str:
    url = settings.redis.url
    database = parse_redis_url("--redis-url", url).database if url else 0
    return keys_of(settings.redis.namespace, database).prefix


@click.group(context_settings={"max_content_width": 100})
@click.version_option(__version__, prog_name="sse-node")
def main() -> None:
    """Server-Sent Events fan-out: Redis Pub/Sub in, very many event streams out."""


@main.command()
@settings_options()
def serve(**flags: str | None) -> None:
    """Run a node until SIGINT or SIGTERM; SIGHUP reads the configuration file again."""
    config = take_worker_config(os.environ)
    try:
        manager = ServiceManager(os.environ)
        source = SettingsSource(flags | manager.flags, os.environ)
        if config is None:  # a worker has what its supervisor was given, and more
            check_variables(os.environ)
        settings = source.read()
    except ConfigError as exc:
        fail(str(exc), EXIT_CONFIG)
    configure_logging(
        settings.logs.level, settings.logs.format, process_name(settings.node.server_id, config)
    )
    if config is None:  # workers leave it to their supervisor
        for name in platform_variables(os.environ):
            logger.warning("ignoring %s: its value describes a service of the platform", name)
        for name in unknown_variables(os.environ):
            logger.warning("ignoring unknown environment variable %s", name)
        if prefix := _prefix_of(settings):
            logger.info("keys and channels on Redis begin with %s", prefix)
    try:
        if config is None and settings.node.workers > 1:
            sys.exit(
                Supervisor(settings, [sys.executable, *sys.orig_argv[1:]], source, manager).run()
            )
        from sse_node.node import worker as process

        process.run(settings, config, source, manager)
    except ConfigError as exc:
        fail(str(exc), EXIT_CONFIG)
    except RedisError as exc:
        fail(str(exc), EXIT_FAILED)


@main.command()
@settings_options()
def check_config(**flags: str | None) -> None:
    """Print every setting with its value and where that comes from, as a configuration file.

    Takes the flags of serve, and exits with 3 where serve would. Passwords are masked.
    """
    from sse_node.cli.check_config import check_keys, describe

    try:
        sources = Sources(flags, os.environ)
        settings = SettingsSource(flags, os.environ).read()
        check_variables(os.environ)
        check_keys(settings)
    except ConfigError as exc:
        fail(str(exc), EXIT_CONFIG)
    for name in [*platform_variables(os.environ), *unknown_variables(os.environ)]:
        click.echo(f"sse-node: {name} is ignored", err=True)
    for line in describe(sources, settings):
        click.echo(line)


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script by which a SHELL completes commands, flags and files.

    In ~/.bashrc: eval "$(sse-node completion bash)"
    """
    from click.shell_completion import get_completion_class

    complete = get_completion_class(shell)
    assert complete is not None
    click.echo(complete(main, {}, "sse-node", "_SSE_NODE_COMPLETE").source())


@main.command()
@click.argument("user")
@click.argument("event_type", metavar="TYPE")
@click.argument("data", metavar="JSON")
@click.option("--idempotency-key", help="Publish once however often this is run.")
@settings_options(
    "redis_url", "namespace", "redis_timeout", "log_length", "log_bytes", "max_event_bytes"
)
def publish(
    user: str, event_type: str, data: str, idempotency_key: str | None, **flags: str | None
) -> None:
    """Publish one event to USER's streams and print its id."""
    settings = _read_settings(flags)
    if not settings.redis.url:
        fail("--redis-url: expected where the nodes' Redis is", EXIT_CONFIG)
    if not is_user_id(user):
        fail(f"USER {user!r}: expected {USER_ID_EXPECTED}", EXIT_CONFIG)
    if not is_event_type(event_type):
        fail(f"TYPE {event_type!r}: expected {EVENT_TYPE_EXPECTED}", EXIT_CONFIG)
    if idempotency_key is not None and not is_idempotency_key(idempotency_key):
        fail(f"--idempotency-key: expected {IDEMPOTENCY_KEY_EXPECTED}", EXIT_CONFIG)
    if is_deeper(data.encode(), MAX_DEPTH):
        fail(f"JSON: {TOO_DEEP}", EXIT_CONFIG)
    try:
        json.loads(data, parse_constant=lambda name: fail(f"JSON: it has no {name}", EXIT_CONFIG))
        payload = encode_envelope(user, event_type, data.encode(), broadcast=False)
        msgspec.json.decode(payload)
    except ValueError as exc:
        fail(f"JSON: {exc}", EXIT_CONFIG)
    if len(payload) > settings.events.max_event_bytes:
        fail(f"JSON: at most {settings.events.max_event_bytes} bytes for an event", EXIT_CONFIG)
    from sse_node.cli.commands import publish_event

    configure_logging("critical", "text", "publish")  # failures are printed once, below
    try:
        click.echo(publish_event(settings, user, payload, idempotency_key or ""))
    except (RedisError, RequestError) as exc:
        fail(str(exc), EXIT_FAILED)


@main.command()
@click.argument("user")
@click.option("--url", help="Of a node, such as http://localhost:3000, to read its stream.")
@click.option("--token", "user_token", default="", help="For the node of --url.")
@settings_options("redis_url", "namespace", "max_event_bytes")
def tail(user: str, url: str | None, user_token: str, **flags: str | None) -> None:
    """Print USER's events as they are published: ID TYPE JSON, until Ctrl-C.

    They come from Redis, or with --url from a node, as its clients get them.
    """
    settings = _read_settings(flags)
    if not settings.redis.url and not url:
        fail("--redis-url: expected where the nodes' Redis is, or --url", EXIT_CONFIG)
    if not is_user_id(user):
        fail(f"USER {user!r}: expected {USER_ID_EXPECTED}", EXIT_CONFIG)
    from sse_node.cli.commands import watch_stream, watch_user

    configure_logging("warning", "text", "tail")
    try:
        if url:
            watch_stream(url, user, user_token, _write_line)
        else:
            watch_user(settings, user, _write_line)
    except StreamClosedError as exc:
        fail(str(exc), EXIT_FAILED)
    except ConfigError as exc:
        fail(str(exc), EXIT_CONFIG)
    except KeyboardInterrupt:
        sys.exit(0)


def _write_line(line: str) -> None:
    try:
        click.echo(line)
    except BrokenPipeError:  # nobody reads any more, as in `sse-node tail USER | head`
        os._exit(EXIT_FAILED)


@main.command()
@settings_options("host", "port", "uds")
def health(**flags: str | None) -> None:
    """Ask a node whether it is alive; exit with 0, or print why not and exit with 1.

    Without flags it asks the node that runs on this machine or in this container, wherever that
    listens.
    """
    from sse_node.cli.health import ask_health, running_nodes

    try:
        if any(value is not None for value in flags.values()):
            places = {read_listen_settings(flags, os.environ)}
        else:
            places = {
                read_listen_settings(_serve_flags(words), environment)
                for words, environment in running_nodes()
            } or {read_listen_settings({}, os.environ)}
    except ConfigError as exc:
        fail(str(exc), EXIT_CONFIG)
    if len(places) > 1:
        fail("several nodes run here; expected --port or --uds of one of them", EXIT_CONFIG)
    if reason := ask_health(places.pop()):
        fail(f"not alive: {reason}", EXIT_FAILED)


def _serve_flags(words: list[str]) -> dict[str, Any]:
    return serve.make_context("serve", words, resilient_parsing=True).params


@main.command()
@click.argument("name")
@click.option("--may", required=True, help="Rights, separated by spaces: publish:user:* observe …")
def key(name: str, may: str) -> None:
    """Print a new API key, then its line for the file of --api-keys.

    The key is printed once; the file holds a hash of it.
    """
    from sse_node.access.api_keys import new_key

    try:
        secret, line = new_key(name, may)
    except ConfigError as exc:
        fail(str(exc), EXIT_CONFIG)
    click.echo(secret)
    click.echo(line)


@main.command()
@click.argument("user", required=False)
@click.option("--channels", default="", help="Channels and patterns to listen to, by spaces.")
@click.option("--publish", "may_publish", default="", help="Where it may publish, by spaces.")
@click.option("--expires", default="1h", show_default=True, help="Life: a number with s, m, h, d.")
@click.option("--jti", default="", help="Id of the token, to revoke it by.")
@click.option("--explain", metavar="TOKEN", help="Show how a node judges TOKEN; - reads it.")
@settings_options("jwt_key", "jwt_algorithm", "jwks_url", "jwt_audience", "jwt_issuer")
def token(
    user: str | None,
    channels: str,
    may_publish: str,
    expires: str,
    jti: str,
    explain: str | None,
    **flags: str | None,
) -> None:
    """Print a token for USER, or explain one."""
    from sse_node.cli.token import explain_token, make_token, parse_duration

    access = _read_settings(flags).access
    try:
        if explain is not None:
            text = sys.stdin.read().strip() if explain == "-" else explain
            is_accepted, explanation = explain_token(access, text)
            click.echo(explanation)
            sys.exit(0 if is_accepted else EXIT_FAILED)
        if user is None or not is_user_id(user):
            fail(f"USER: expected {USER_ID_EXPECTED}", EXIT_CONFIG)
        lists = {"channels": channels.split(), "publish": may_publish.split()}
        claims: dict[str, Any] = {name: texts for name, texts in lists.items() if texts}
        if jti:
            claims["jti"] = jti
        click.echo(make_token(access, user, claims, parse_duration("--expires", expires)))
    except ConfigError as exc:
        fail(str(exc), EXIT_CONFIG)


@main.command()
@settings_options("redis_url", "namespace", "redis_timeout")
def verify_accounts(**flags: str | None) -> None:
    """Compare every account with the state that its history gives.

    Prints a line for each one that differs, then the totals; exits with 1 if there are any.
    """
    settings = _read_settings(flags)
    if not settings.redis.url:
        fail("--redis-url: expected where the nodes' Redis is", EXIT_CONFIG)
    from sse_node.cli import verify_accounts as command

    configure_logging("critical", "text", "verify-accounts")
    try:
        totals = command.verify_accounts(settings, _write_line)
    except ConfigError as exc:
        fail(str(exc), EXIT_CONFIG)
    except RedisError as exc:
        fail(str(exc), EXIT_FAILED)
    click.echo(
        f"{totals.compared} compared, {totals.different} different, "
        f"{totals.without} without a history"
    )
    sys.exit(EXIT_FAILED if totals.different else 0)


@main.command()
def script() -> None:
    """Print the Lua script by which other programs publish events."""
    from sse_node.redis.event_log import PUBLISH

    click.echo(PUBLISH.text, nl=False)


main.add_command(bridge)
main.add_command(copy_shards)
main.add_command(nginx)
main.add_command(webhooks)

if __name__ == "__main__":
    main(prog_name="sse-node")

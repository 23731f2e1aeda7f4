"""The commands `bridge kafka` and `bridge amqp`: their settings."""

from __future__ import annotations

import sys

import pytest
from click.testing import CliRunner

from sse_node.__main__ import main

KAFKA = ("kafka", "--brokers", "127.0.0.1:1", "--topic", "orders", "--group", "g")
AMQP = ("amqp", "--url", "amqp://guest:hidden@127.0.0.1:1/", "--queue", "orders")
REDIS = ("--redis-url", "unix:///nowhere/redis.sock")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (KAFKA, "--redis-url is missing; expected the URL of the nodes' Redis"),
        (("kafka", *REDIS), "--brokers is missing; expected host:port"),
        ((*KAFKA, *REDIS, "--topic", "a b"), "--topic: 'a b' is not allowed"),
        ((*KAFKA, *REDIS, "--group", ""), "--group: '' is not allowed"),
        ((*KAFKA, *REDIS, "--on-bad", "x"), "--on-bad: 'x' is not allowed; expected one of skip"),
        ((*KAFKA, *REDIS, "--user-from", "key"), "--type-from is missing"),
        ((*KAFKA, *REDIS, "--type-from", "key"), "--user-from or --channel-from with it"),
        (
            (*KAFKA, *REDIS, "--user-from", "key", "--channel-from", "key"),
            "expected it without --user-from",
        ),
        ((*KAFKA, *REDIS, "--kafka-config", "/nowhere"), "--kafka-config: '/nowhere'"),
        (("amqp", *REDIS), "--url is missing; expected amqp:// or amqps://"),
        (("amqp", *REDIS, "--url", "http://a"), "--url: the URL is not allowed; expected amqp://"),
        ((*AMQP, *REDIS, "--dead-letter", "topic"), "expected the path of a file, with a slash"),
        (
            (*AMQP, *REDIS, "--dead-letter", "/nowhere/dead.jsonl"),
            "expected a file that can be written, or made in a folder that exists",
        ),
        (
            (*KAFKA, *REDIS, "--check", "--dead-letter", "/proc/"),
            "expected a file that can be written, or made in a folder that exists",
        ),
    ],
)
def test_wrong_settings_are_named(words: tuple[str, ...], message: str) -> None:
    result = CliRunner().invoke(main, ["bridge", *words])
    assert result.exit_code == 3, result.output
    assert message in result.output
    assert "hidden" not in result.output


@pytest.mark.parametrize(
    ("words", "library"), [(KAFKA, "confluent_kafka"), (AMQP, "aio_pika")], ids=["kafka", "amqp"]
)
def test_a_missing_extra_is_named(
    words: tuple[str, ...], library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith(("sse_node.bridges", library))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    result = CliRunner().invoke(main, ["bridge", *words, *REDIS])
    assert result.exit_code == 3
    assert f"pip install 'sse-node[{words[0]}]'" in result.output


def test_variables_of_bridges_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(("BROKERS", "TOPIC", "GROUP"), KAFKA[2::2], strict=True):
        monkeypatch.setenv(f"SSE_NODE_{name}", value)
    result = CliRunner().invoke(main, ["bridge", "kafka", "--check", *REDIS])
    assert result.exit_code == 1
    assert "Redis is away" in result.output

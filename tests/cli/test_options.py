"""What all commands have that take settings."""

import pytest
from click.testing import CliRunner

from sse_node.__main__ import main

REDIS = ("--redis-url", "unix:///nowhere/redis.sock")
COMMANDS = [
    ("webhooks",),
    ("bridge", "kafka", "--brokers", "127.0.0.1:1", "--topic", "orders", "--group", "g"),
    ("bridge", "amqp", "--url", "amqp://127.0.0.1:1/", "--queue", "orders"),
    ("publish", "ann", "order.paid", "{}"),
    ("tail", "ann"),
    ("verify-accounts",),
    ("copy-shards", "--to-shards", "4"),
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_misspelt_variable_is_named(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSE_NODE_NAMESPCAE", "blue")
    result = CliRunner().invoke(main, [*words, *REDIS])
    assert result.exit_code == 3, result.output
    assert "SSE_NODE_NAMESPCAE" in result.output
    assert "SSE_NODE_NAMESPACE, which is a setting" in result.output

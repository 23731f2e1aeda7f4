"""The smallest rights that a bridge needs: the rule of docs/sources.md, in use."""

from __future__ import annotations

import re
from typing import Any

import pytest
from redis import Redis

from bench.harness import ROOT, RedisProcess
from sse_node.errors import RedisError
from sse_node.redis.address import redis_address
from sse_node.redis.commands import RedisCommands
from sse_node.redis.event_log import EventLog
from sse_node.redis.source_log import SourceEvent, SourceLog

pytestmark = pytest.mark.integration

DOCUMENT = (ROOT / "docs" / "sources.md").read_text("utf-8")
EVENT = b'{"userId":"ann","eventType":"a.b","data":1}'


def rule() -> list[str]:
    """Return the words of the documented rule."""
    found = re.search(r"<!-- acl-bridge:begin -->\n```\n(.*?)```", DOCUMENT, re.DOTALL)
    assert found is not None
    return found[1].replace(">PASSWORD", ">secret").split()


async def use_everything(url: str, log_bytes: int = 4 << 20) -> None:
    """Publish as both bridges do, until the log drops entries by bytes."""
    commands = RedisCommands(redis_address(url), name="test", timeout_s=5, max_connections=2)
    log = SourceLog(commands, EventLog(commands, 1000, log_bytes=log_bytes))
    large = EVENT.replace(b"1", b'"%b"' % (b"x" * 200_000))
    try:
        assert await log.position("kafka:g:t", "0") == -1
        for number in range(30):
            event = SourceEvent(number, "", "user-events", large)
            assert await log.publish("kafka:g:t", "0", number, [event]) == 1
        event = SourceEvent(0, "key", "system-events", EVENT)
        assert await log.publish("amqp::q", "", 0, [event]) == 1
        assert await log.publish("amqp::q", "", 0, [event]) == 0
    finally:
        await commands.shutdown()


async def test_the_smallest_rule_of_a_bridge() -> None:
    with RedisProcess(tcp=True) as redis, Redis.from_url(redis.url) as administrator:
        execute: Any = administrator.execute_command
        url = redis.url.replace("redis://", "redis://bridge:secret@")
        words = rule()
        assert execute(*words)
        await use_everything(url)
        for word in words:
            if not word.startswith("+") or word == "+xrange":  # without it no bound in bytes
                continue
            execute("FLUSHALL")
            execute("SCRIPT", "FLUSH")
            execute("ACL", "SETUSER", "bridge", word.replace("+", "-"))
            with pytest.raises(RedisError):  # each word is needed
                await use_everything(url)
            execute("ACL", "SETUSER", "bridge", word)

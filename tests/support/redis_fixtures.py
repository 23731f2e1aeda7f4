"""What tests of this folder need of Redis: none at all, or a real one with an empty database."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import pytest

from bench.harness import RedisProcess
from sse_node.api.event_stream import EventStreamResource
from sse_node.config.limits import LimitsSettings
from sse_node.config.reading import read_settings
from sse_node.delivery.fanout import Fanout
from sse_node.delivery.history import History
from sse_node.delivery.hub import Hub
from sse_node.errors import PublisherError
from sse_node.redis.address import RedisAddress, redis_address
from sse_node.redis.commands import RedisCommands
from sse_node.redis.event_log import EventLog
from sse_node.redis.replay import LogReplay
from sse_node.streams.admission import Admission
from sse_node.streams.frames import encode_ping
from sse_node.streams.heartbeat import Heartbeat
from sse_node.streams.limits import StreamLimits
from sse_node.streams.opening import Opening
from sse_node.streams.registry import Streams
from sse_node.streams.retry import RetryTime
from sse_node.streams.slow_clients import SlowClients
from sse_node.wire.envelope import encode_channel_envelope, encode_envelope, insert_id
from sse_node.wire.event_id import format_position

LIMITS = {limit.name for limit in fields(LimitsSettings)}
_DATABASE = 15  # of this folder's tests alone


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for Redis no longer than a test would."""
    monkeypatch.setattr("sse_node.redis.replay._DEADLINE_S", 0.5)


@pytest.fixture
async def no_redis() -> AsyncIterator[RedisCommands]:
    """Commands to a Redis that is not there."""
    commands = RedisCommands(
        RedisAddress(unix_socket_path="/nowhere/redis.sock"),
        name="test",
        timeout_s=5,
        max_connections=1,
    )
    yield commands
    await commands.shutdown()


@pytest.fixture
def redis_url(valkey: RedisProcess) -> str:
    """The address of an empty database."""
    return f"{valkey.url}?db={_DATABASE}"


@pytest.fixture
async def commands(redis_url: str) -> AsyncIterator[RedisCommands]:
    """Commands to an empty database."""
    commands = RedisCommands(redis_address(redis_url), name="test", timeout_s=5, max_connections=4)
    await commands.execute("FLUSHDB")
    yield commands
    await commands.shutdown()


@pytest.fixture
def log(commands: RedisCommands) -> EventLog:
    """A log without entries."""
    return EventLog(commands, 100_000)


@dataclass
class Replays:
    """What a shard has for new streams."""

    history: History
    replay: LogReplay
    serving: bool = True

    async def want(self) -> bool:
        """Say whether it serves: it is always subscribed to."""
        return self.serving


@dataclass
class Node:
    """Streams and what they need, with a history that the test fills."""

    hub: Hub
    history: History
    fanout: Fanout
    streams: Streams
    opening: Opening
    event_stream: EventStreamResource
    retry: RetryTime
    shard: Replays

    def publish(self, user: str, position: int, data: bytes = b"1") -> None:
        """Deliver an entry of the log, as Redis would push it."""
        self._publish(b"user-events", encode_envelope(user, "t", data, broadcast=False), position)

    def publish_named(self, channel: str, position: int, data: bytes = b"1") -> None:
        """Deliver an entry of the log for a channel that matches a pattern."""
        self._publish(b"channel-events", encode_channel_envelope(channel, "t", data), position)

    def _publish(self, channel: bytes, payload: bytes, position: int) -> None:
        payload = insert_id(payload, format_position(position), b"log")
        self.fanout.deliver([[b"message", channel, payload]])


def _refuse(error: PublisherError) -> None:
    raise AssertionError("the tests publish what an event can be made of") from error


@pytest.fixture
def make_node(no_redis: RedisCommands) -> Callable[..., Node]:
    """Make a node without Redis; what memory cannot prove is unavailable."""

    def make(history_limit: int = 1000, **settings: Any) -> Node:  # noqa: ANN401
        hub, history = Hub(), History(history_limit, 1 << 20)
        event_names = settings.get("event_names", False)
        fanout = Fanout(
            hub, history, max_event_bytes=1000, event_names=event_names, on_dropped=_refuse
        )
        fanout.log_name = b"log"
        channels = "system-events,analytics-events,room:*"
        defaults = read_settings({"max_streams": "100", "channels": channels}, {})
        settings.pop("event_names", None)
        limits = {name: settings.pop(name) for name in list(settings) if name in LIMITS}
        stream_settings = replace(defaults.streams, **settings)
        retry = RetryTime(3000)
        slow_clients = SlowClients(timeout_s=5, total_limit_bytes=1 << 20)
        streams = Streams(
            lambda audience: hub,
            Heartbeat(
                stream_settings.ping_interval, lambda: encode_ping("node-1"), lambda lag_s: None
            ),
            slow_clients,
            retry,
            stream_settings,
            StreamLimits(replace(defaults.limits, **limits)),
            Admission(defaults.limits),
        )
        opening = Opening(streams, slow_clients, retry, server_id="node-1", event_names=event_names)
        shard = Replays(history, LogReplay(EventLog(no_redis, 1000), history, 1 << 20))
        resource = EventStreamResource(
            opening,
            lambda audience: shard,
            defaults.events,
        )
        streams.serving = True
        return Node(hub, history, fanout, streams, opening, resource, retry, shard)

    return make


async def next_millisecond(commands: RedisCommands) -> None:
    """Return in a later millisecond of Redis: what has the time of its making is told apart."""
    begun = await _milliseconds(commands)
    while await _milliseconds(commands) == begun:
        pass


async def _milliseconds(commands: RedisCommands) -> int:
    seconds, microseconds = await commands.execute("TIME")
    return int(seconds) * 1000 + int(microseconds) // 1000

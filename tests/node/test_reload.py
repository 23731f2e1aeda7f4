"""Other settings for a node that runs; its Redis is nowhere."""

import pytest

from sse_node.config.reading import read_settings
from sse_node.config.reload import reload_in_place
from sse_node.config.sections import Settings
from sse_node.node.composition import Node
from sse_node.node.reload import apply_settings
from sse_node.wire.http_head import Request

ORIGIN = "https://app.example"


def settings_of(**flags: str) -> Settings:
    return read_settings({"server_id": "node-1", "channels": "room:*", **flags}, {})


class Running:
    """A node, and its settings over time."""

    def __init__(self) -> None:
        self.settings = settings_of()
        self.node = Node(self.settings, "unix:///nowhere/redis.sock")

    def reload(self, **flags: str) -> None:
        before, after = self.settings, reload_in_place(self.settings, settings_of(**flags)).settings
        apply_settings(self.node, before, after)
        self.settings = after

    def knows(self, channel: str) -> bool:
        """Return whether streams may have a channel."""
        request = Request("HEAD", "/events/sse", f"channels={channel}", {})
        route = self.node.site.find_route(request)
        try:
            route.handler(request)
        except Exception:
            return False
        return True


@pytest.fixture
async def running() -> Running:
    return Running()


async def test_origins(running: Running) -> None:
    request = Request("GET", "/status", "", {b"origin": ORIGIN.encode()})
    allowed = (b"Access-Control-Allow-Origin", ORIGIN.encode())
    assert allowed not in running.node.site.response_headers(request)
    running.reload(cors_origin=ORIGIN)
    assert allowed in running.node.site.response_headers(request)
    assert running.node.gate.origins == (ORIGIN,)


async def test_limits(running: Running) -> None:
    before = running.node.limits
    running.reload(cors_origin=ORIGIN)
    assert running.node.limits is before  # its buckets are as full as they were
    assert [running.node.site.needs_peers] == [False]
    running.reload(requests_per_address="1", streams_per_user="3", memory_limit="1000")
    assert any(running.node.limits.all)
    assert [running.node.site.needs_peers] == [True]
    assert running.node.streams.limits.per_user == 3
    assert running.node.streams.admission.memory_limit == 1000


async def test_channels_that_need_no_subscription_are_there_at_once(running: Running) -> None:
    assert not running.knows("order:1")
    running.reload(channels="room:*,order:*")
    assert running.knows("order:1")
    running.reload()
    assert not running.knows("order:1")


async def test_a_channel_that_needs_one_waits_for_it(running: Running) -> None:
    running.reload(channels="room:*,news", requests_per_address="1")
    assert not running.knows("news")
    assert running.knows("room:1")
    assert any(running.node.limits.all)
    assert b"news" in running.node.plain_channels()
    assert running.node.on_channels_complete is not None
    running.reload(channels="room:*,news,weather")  # before it is there
    assert not running.knows("news")
    running.node.on_channels_complete()
    assert running.knows("news")
    assert running.knows("weather")


async def test_the_uptime_goes_on(running: Running) -> None:
    status = {each.path: each for each in running.node.resources}["/status"]
    running.reload(channels="room:*,order:*")
    assert {each.path: each for each in running.node.resources}["/status"] is status

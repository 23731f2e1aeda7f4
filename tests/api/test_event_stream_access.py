"""Whose stream a caller may open, with which channels."""

from collections.abc import Callable

import pytest

from sse_node.delivery.hub import channel_audience
from sse_node.errors import RequestError
from sse_node.streams.opening import StreamPlan
from sse_node.wire.http_head import Request
from sse_node.wire.identity import ANYONE, Identity, Patterns
from tests.support.redis_fixtures import Node

ANN = Identity(caller="user:ann", user="ann")
ANALYST = Identity(caller="user:ann", user="ann", listen=Patterns(["analytics-*"]))
ONE = Identity(caller="user:1", user="1")
KEY = Identity(caller="key:k", rights=frozenset({"observe"}), listen=Patterns(["*"]))
DEFAULT = "123"


@pytest.fixture
def node(make_node: Callable[..., Node]) -> Node:
    return make_node()


def request_of(identity: Identity, user: str | None = None, channels: str = "") -> Request:
    parameters = {} if user is None else {"userId": user}
    query = f"channels={channels}" if channels else ""
    request = Request("GET", "/events/sse", query, {}, path_parameters=parameters)
    request.identity = identity
    return request


@pytest.mark.parametrize(
    ("identity", "user", "audience"),
    [
        (ANN, None, "ann"),
        (ANN, "ann", "ann"),
        (ONE, "1", "1"),
        (ANYONE, None, DEFAULT),
        (ANYONE, "ann", "ann"),
    ],
)
async def test_the_own_stream(
    node: Node, identity: Identity, user: str | None, audience: str
) -> None:
    plan = node.event_stream.get(request_of(identity, user))
    assert isinstance(plan, StreamPlan)
    assert (plan.user, plan.channels, plan.identity) == (
        audience,
        (channel_audience("system-events"),),
        identity,
    )


@pytest.mark.parametrize(
    ("identity", "user", "status"),
    [
        (ANN, "bob", 403),
        (ANN, "Ann", 403),
        (ANN, "ann.", 403),
        (ANN, DEFAULT, 403),
        (ONE, "01", 403),
        (ONE, "1.", 403),
        (KEY, None, 403),
        (KEY, "ann", 403),
        (Identity(), None, 401),
        (Identity(), "ann", 401),
    ],
)
async def test_the_stream_of_another(
    node: Node, identity: Identity, user: str | None, status: int
) -> None:
    with pytest.raises(RequestError) as caught:
        node.event_stream.get(request_of(identity, user))
    assert caught.value.status == status
    assert any(name == b"WWW-Authenticate" for name, _ in caught.value.headers)


@pytest.mark.parametrize(
    ("identity", "channels", "status"),
    [
        (ANYONE, "analytics-events", 0),
        (ANALYST, "analytics-events", 0),
        (ANALYST, "system-events,analytics-events", 0),
        (ANN, "system-events", 0),
        (ANN, "analytics-events", 403),
        (ANN, "system-events,analytics-events", 403),
        (ANALYST, "news", 400),
    ],
)
async def test_channels_that_the_token_lists(
    node: Node, identity: Identity, channels: str, status: int
) -> None:
    request = request_of(identity, channels=channels)
    if not status:
        plan = node.event_stream.get(request)
        assert isinstance(plan, StreamPlan)
        names = {"system-events", *channels.split(",")}
        assert set(plan.channels) == set(map(channel_audience, names))
        return
    with pytest.raises(RequestError) as caught:
        node.event_stream.get(request)
    assert caught.value.status == status

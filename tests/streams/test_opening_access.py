"""Access that ends between the request and the stream."""

import json
from collections.abc import Callable

import pytest

from sse_node.streams.event_stream import CloseReason
from sse_node.streams.opening import Opening, StreamPlan
from sse_node.wire.identity import Identity
from tests.support.event_stream_parser import parse_event_stream
from tests.support.fakes import FakeTransport
from tests.support.redis_fixtures import Node

ANN = Identity(caller="user:ann", user="ann", expires_s=1.0)


@pytest.mark.parametrize("reason", [CloseReason.REVOKED, CloseReason.TOKEN_EXPIRED])
async def test_a_stream_whose_access_has_ended_gets_no_event(
    make_node: Callable[..., Node],
    make_transport: Callable[[], FakeTransport],
    reason: CloseReason,
) -> None:
    node = make_node()
    node.publish("ann", 1)
    asked: list[Identity] = []

    def end_of_access(identity: Identity) -> CloseReason:
        asked.append(identity)
        return reason

    opening = Opening(
        node.streams, node.streams._slow_clients, node.retry,
        server_id="node-1", event_names=False, end_of_access=end_of_access,
    )  # fmt: skip
    transport = make_transport()
    plan = StreamPlan(opening, "ann", (), node.history, identity=ANN, resume_at=0, has_waited=True)
    plan.open(transport, ())
    head, _, content = transport.received().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    stream = parse_event_stream(content)
    assert [(event.type, json.loads(event.data)) for event in stream.events] == [
        ("sse.closed", {"reason": str(reason)})
    ]
    assert stream.retry_ms is not None
    assert transport.is_closing()
    assert (asked, len(node.streams), node.streams.opened) == ([ANN], 0, 0)
    node.publish("ann", 2)
    assert transport.received() == b""

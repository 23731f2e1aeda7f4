"""From a plan to a stream that is registered and has its replay."""

from collections.abc import Callable

import pytest

from sse_node.delivery.history import Entry
from sse_node.streams.event_stream import CloseReason
from sse_node.streams.opening import StreamPlan
from sse_node.wire.envelope import encode_envelope
from tests.support.event_stream_parser import parse_event_stream
from tests.support.fakes import FakeTransport
from tests.support.redis_fixtures import Node

MakeTransport = Callable[[], FakeTransport]
HEADERS = ((b"X-Server-Id", b"node-1"),)


@pytest.fixture
def node(make_node: Callable[..., Node]) -> Node:
    node = make_node()
    node.publish("nobody", 1)
    return node


def open_stream(plan: StreamPlan, transport: FakeTransport) -> list[str]:
    """Carry a plan out; return the ids of the events that the client has."""
    plan.open(transport, HEADERS)
    content = transport.received().partition(b"\r\n\r\n")[2]
    return [event.last_event_id for event in parse_event_stream(content).events]


def entry(position: int) -> Entry:
    return position, encode_envelope("ann", "t", b"1", broadcast=False)


async def test_an_event_published_just_before_is_replayed_and_just_after_is_live(
    node: Node, make_transport: MakeTransport
) -> None:
    plan = StreamPlan(node.opening, "ann", (), node.history, resume_at=1)
    node.publish("ann", 2)
    transport = make_transport()
    assert open_stream(plan, transport) == ["0-1", "0-2"]
    node.publish("ann", 3)
    assert transport.received().startswith(b"id: 0-3\n")


async def test_it_is_registered_before_anything_is_written(
    node: Node, make_transport: MakeTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered = []
    start = "sse_node.streams.event_stream.EventStream.start"
    monkeypatch.setattr(
        start, lambda self, data: registered.append(self in (node.hub.streams_of("ann") or ()))
    )
    StreamPlan(node.opening, "ann", (), node.history).open(make_transport(), HEADERS)
    assert registered == [True]


async def test_entries_of_the_plan_are_the_replay(
    node: Node, make_transport: MakeTransport
) -> None:
    node.publish("ann", 5)
    plan = StreamPlan(
        node.opening, "ann", (), node.history, resume_at=2, entries=[entry(3), entry(4)]
    )
    assert open_stream(plan, make_transport()) == ["0-2", "0-3", "0-4"]
    assert (node.streams.resumed, node.streams.replayed) == (1, 2)


@pytest.mark.parametrize(("start", "first_id"), [(2, "0-2"), (None, "")])
async def test_new_stream_begins_with_the_last_entries(
    node: Node, make_transport: MakeTransport, start: int | None, first_id: str
) -> None:
    node.publish("ann", 5)
    plan = StreamPlan(
        node.opening, "ann", (), node.history, entries=[entry(3), entry(5)], start=start
    )
    assert open_stream(plan, make_transport()) == [first_id, "0-3", "0-5"]
    assert (node.streams.resumed, node.streams.replayed) == (0, 2)


async def test_new_stream_without_last_entries_is_at_the_nodes_position(
    node: Node, make_transport: MakeTransport
) -> None:
    plan = StreamPlan(node.opening, "ann", (), node.history, entries=[], start=None)
    assert open_stream(plan, make_transport()) == ["0-1"]


async def test_a_reset_comes_first_and_at_the_nodes_position(
    node: Node, make_transport: MakeTransport
) -> None:
    transport = make_transport()
    StreamPlan(node.opening, "ann", (), node.history, reset_reason="trimmed").open(
        transport, HEADERS
    )
    events = parse_event_stream(transport.received().partition(b"\r\n\r\n")[2]).events
    assert [(event.type, event.last_event_id) for event in events] == [
        ("sse.reset", "0-1"),
        ("sse.open", "0-1"),
    ]
    assert node.streams.resets == {"trimmed": 1}


async def test_a_replay_that_would_exceed_the_total_limit_is_refused(
    node: Node, make_transport: MakeTransport
) -> None:
    payload = b" " * (1 << 20)  # the node's limit for what waits, all streams together
    plan = StreamPlan(
        node.opening, "ann", (), node.history, resume_at=1, entries=[(2, payload), (3, b" ")]
    )
    transport = make_transport()
    plan.open(transport, HEADERS)
    head, _, content = transport.received().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert parse_event_stream(content).retry_ms is not None
    assert transport.is_closing()
    assert node.streams.refused == {"full": 1}
    assert (len(node.streams), node.streams.opened) == (0, 0)


async def test_the_head_alone_is_no_stream(node: Node, make_transport: MakeTransport) -> None:
    transport = make_transport()
    plan = StreamPlan(node.opening, "ann", (), node.history)
    plan.head_only = True
    plan.open(transport, HEADERS)
    received = transport.received()
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert received.endswith(b"\r\nX-Server-Id: node-1\r\n\r\n")
    assert transport.is_closing()
    assert node.streams.opened == 0


async def test_a_client_that_left_meanwhile_is_forgotten(
    node: Node, make_transport: MakeTransport
) -> None:
    transport = make_transport()
    transport.client.close()
    StreamPlan(node.opening, "ann", (), node.history).open(transport, HEADERS)
    node.publish("ann", 2)
    transport.lose()
    assert node.streams.closed == {CloseReason.CLIENT_LEFT: 1}
    assert len(node.streams) == 0


# Limits


async def test_a_client_that_opened_others_during_its_replay_is_refused(
    make_node: Callable[..., Node], make_transport: MakeTransport
) -> None:
    node = make_node(streams_per_address=1)
    node.publish("nobody", 1)
    plans = [StreamPlan(node.opening, user, (), node.history) for user in ("ann", "bob")]
    transports = [make_transport() for _ in plans]
    for plan, transport in zip(plans, transports, strict=True):
        plan.client = "192.0.2.1"
        assert node.opening.refusal(plan.client) is None or node.streams.opened
        plan.open(transport, HEADERS)
    assert [transport.is_closing() for transport in transports] == [False, True]
    refused = transports[1].received()
    assert refused.startswith(b"HTTP/1.1 200 OK\r\n")
    assert parse_event_stream(refused.partition(b"\r\n\r\n")[2]).retry_ms is not None
    assert node.streams.refused["streams-per-address"] >= 1
    transports[0].lose()
    assert node.opening.refusal("192.0.2.1") is None


async def test_the_stream_that_replaces_another_is_not_replaced_itself(
    make_node: Callable[..., Node], make_transport: MakeTransport
) -> None:
    node = make_node(streams_per_user=1)
    node.publish("nobody", 1)
    old, new = make_transport(), make_transport()
    for transport in (old, new):
        StreamPlan(node.opening, "ann", (), node.history).open(transport, HEADERS)
    content = old.received().partition(b"\r\n\r\n")[2]
    last = parse_event_stream(content).events[-1]
    assert (last.type, last.data) == ("sse.closed", '{"reason":"replaced"}')
    assert old.is_closing()
    node.publish("ann", 2)
    assert new.received().endswith(b"id: 0-2\n" + b'data: {"eventType":"t","data":1}\n\n')
    assert not new.is_closing()

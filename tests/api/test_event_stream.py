"""The per-client path: from a request to an open stream, and to its end."""

import asyncio
import gc
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sse_node.delivery.hub import channel_audience
from sse_node.errors import PositionLostError, RequestError
from sse_node.streams.drain import drain
from sse_node.streams.event_stream import CloseReason
from sse_node.streams.opening import StreamPlan
from sse_node.wire.event_id import format_position
from sse_node.wire.http_head import Request, Response
from tests.support.event_stream_parser import Event, EventStream, parse_event_stream
from tests.support.fakes import FakeTransport
from tests.support.redis_fixtures import Node

HEADERS = ((b"X-Server-Id", b"node-1"),)

MakeNode = Callable[..., Node]


class Client:
    """The other end of a connection that has asked for a stream."""

    def __init__(self) -> None:
        self.transport = FakeTransport()
        self._received = b""

    async def open(
        self,
        node: Node,
        user: str | None = None,
        last_event_id: str = "",
        query: str = "",
        method: str = "GET",
    ) -> "Client":
        """Ask for a stream and be given it."""
        answer = node.event_stream.get(request_of(user, last_event_id, query, method))
        if inspect.isawaitable(answer):
            answer = await answer
        assert not isinstance(answer, Response)
        answer.open(self.transport, HEADERS)
        return self

    @property
    def head(self) -> bytes:
        """What came before the stream."""
        return self._read().partition(b"\r\n\r\n")[0]

    @property
    def stream(self) -> EventStream:
        """What has been made of the stream until now."""
        return parse_event_stream(self._read().partition(b"\r\n\r\n")[2])

    @property
    def events(self) -> list[Event]:
        """What has been dispatched until now."""
        return self.stream.events

    def _read(self) -> bytes:
        self._received += self.transport.received()
        return self._received

    async def leave(self) -> None:
        """Close the connection; it is gone when this returns."""
        self.transport.feed_eof()
        await self.closed()

    async def closed(self) -> None:
        """Wait until the node has closed the connection."""
        while await self._wait():
            pass

    async def until_event(self, count: int) -> Event:
        """Wait until there have been so many events; return the last of them."""
        while len(self.events) < count:
            await self._wait()
        return self.events[count - 1]

    async def _wait(self) -> bytes:
        async with asyncio.timeout(10):
            data = await asyncio.get_running_loop().sock_recv(self.transport.client, 65536)
        self._received += data
        return data


def request_of(
    user: str | None = None, last_event_id: str = "", query: str = "", method: str = "GET"
) -> Request:
    headers = {b"last-event-id": last_event_id.encode()} if last_event_id else {}
    parameters = {} if user is None else {"userId": user}
    return Request(method, "/events/sse", query, headers, path_parameters=parameters)


def refusal(node: Node, **request: str) -> Response:
    answer = node.event_stream.get(request_of(**request))
    assert isinstance(answer, Response)
    return answer


@pytest.fixture
def node(make_node: MakeNode) -> Node:
    return make_node()


@pytest.fixture
def connect() -> Iterator[Callable[[], Client]]:
    """Make clients whose sockets are closed after the test."""
    clients: list[Client] = []

    def make() -> Client:
        clients.append(Client())
        return clients[-1]

    yield make
    for client in clients:
        client.transport.dispose()


Connect = Callable[[], Client]


# Opening


async def test_stream_begins_with_its_head_and_its_position(node: Node, connect: Connect) -> None:
    node.publish("1", 5)
    client = await connect().open(node, "1")
    assert re.fullmatch(
        rb"HTTP/1\.1 200 OK\r\n"
        rb"Content-Type: text/event-stream; charset=utf-8\r\n"
        rb"Cache-Control: no-store, no-transform\r\n"
        rb"X-Accel-Buffering: no\r\n"
        rb"Connection: close\r\n"
        rb"Date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\n"
        rb"X-Server-Id: node-1",
        client.head,
    )
    assert client.events == [
        Event("sse.open", '{"serverId":"node-1","resumed":false,"replayed":0}', "0-5")
    ]
    assert len(node.streams) == node.streams.opened == node.hub.connected_users == 1


async def test_stream_has_the_events_of_its_user_and_of_the_system(
    node: Node, connect: Connect
) -> None:
    mine, other = await connect().open(node, "1"), await connect().open(node)
    node.publish("1", 5)
    node.publish("123", 6)
    node.fanout.deliver([[b"message", b"system-events", b'{"eventType":"s","data":1}']])
    node.fanout.deliver([[b"message", b"analytics-events", b'{"eventType":"a","data":1}']])
    system = '{"eventType":"s","data":1}'
    assert [event.data for event in mine.events[1:]] == ['{"eventType":"t","data":1}', system]
    assert [(event.last_event_id, event.data) for event in other.events[1:]] == [
        ("0-6", '{"eventType":"t","data":1}'),
        ("0-6", system),
    ]


@pytest.mark.parametrize(
    ("channels", "seen"),
    [
        ("", ["system-events"]),
        ("analytics-events", ["system-events", "analytics-events"]),
        ("analytics-events,,system-events,analytics-events", ["system-events", "analytics-events"]),
    ],
)
async def test_stream_has_the_channels_it_asks_for(
    node: Node, connect: Connect, channels: str, seen: list[str]
) -> None:
    client = await connect().open(node, query=urlencode({"channels": channels}))
    for channel in (b"system-events", b"analytics-events"):
        node.fanout.deliver([[b"message", channel, b'{"eventType":"t","data":"%b"}' % channel]])
    assert [json.loads(event.data)["data"] for event in client.events[1:]] == seen


@pytest.mark.parametrize(
    "query",
    ["channels=room:1,room:a/b", "channels=room%3A1%2Croom%3Aa%2Fb",
     "channels=room:1&channels=room:a%2Fb,", "channels=room:a%2Fb&channels=&channels=room:1"],
)  # fmt: skip
async def test_stream_has_the_named_channels_it_asks_for(
    node: Node, connect: Connect, query: str
) -> None:
    client = await connect().open(node, query=query)
    for position, name in enumerate(["room:1", "room:a/b", "room:a", "room:2", "room:1"], 1):
        node.publish_named(name, position)
    assert [event.last_event_id for event in client.events[1:]] == ["0-1", "0-2", "0-5"]


async def test_stream_may_have_50_channels_and_those_it_has_anyway(
    node: Node, connect: Connect
) -> None:
    names = [f"room:{number}" for number in range(50)]
    query = "channels=system-events&" + "&".join(f"channels={name}" for name in names)
    client = await connect().open(node, query=query)
    for position, name in enumerate(names, 1):
        node.publish_named(name, position)
    assert len(client.events) == 51


async def test_100000_names_that_streams_ask_for_leave_nothing_behind(
    node: Node, connect: Connect
) -> None:
    def ask(number: int) -> StreamPlan:
        node.publish_named(f"room:{number}", number + 1)
        answer = node.event_stream.get(
            request_of(f"user-{number}", query=f"channels=room:{number}&replay=1")
        )
        assert isinstance(answer, StreamPlan)
        return answer

    for number in range(5000):  # fills the history
        ask(number)
    gc.collect()
    blocks = sys.getallocatedblocks()
    for number in range(5000, 105_000):
        plan = ask(number)
        if number % 1000 == 0:
            client = connect()
            plan.open(client.transport, HEADERS)
            assert [event.last_event_id for event in client.events][1:] == [f"0-{number + 1}"]
            await client.leave()
            client.transport.dispose()
    gc.collect()
    assert list(node.hub.audiences()) == []
    assert sys.getallocatedblocks() - blocks < 5000


async def test_stream_goes_on_with_its_named_channels(node: Node, connect: Connect) -> None:
    node.publish_named("room:1", 5)
    for number in range(6):
        node.publish_named(f"room:{number % 3}", 10 + 2 * number)
        node.publish("1", 11 + 2 * number)
    client = await connect().open(node, "1", "0-5", "channels=room:1,room:2")
    node.publish_named("room:2", 30)
    expected = [5, 11, 12, 13, 14, 15, 17, 18, 19, 20, 21, 30]
    assert [event.last_event_id for event in client.events] == [f"0-{each}" for each in expected]


async def test_stream_without_a_user_hears_channels_alone(node: Node, connect: Connect) -> None:
    node.publish_named("room:1", 5)
    client = connect()
    channels = (channel_audience("room:1"), channel_audience("system-events"))
    for position in (6, 7):
        node.publish_named("room:1", position)
    plan = StreamPlan(node.opening, None, channels, node.history, resume_at=6)
    plan.open(client.transport, HEADERS)
    node.publish_named("room:1", 8)
    node.publish("123", 9)
    assert [event.last_event_id for event in client.events] == ["0-6", "0-7", "0-8"]
    assert node.hub.connected_users == 0
    assert len(node.streams) == 1
    await client.leave()
    assert list(node.hub.audiences()) == []


async def test_event_type_is_in_the_event_field_when_asked_for(
    make_node: MakeNode, connect: Connect
) -> None:
    node = make_node(event_names=True)
    node.publish("1", 5)
    node.publish("1", 6)
    client = await connect().open(node, "1", "0-5")
    node.publish("1", 7)
    assert [event.type for event in client.events] == ["sse.open", "t", "t"]


async def test_reconnection_time_is_jittered_by_a_quarter(node: Node, connect: Connect) -> None:
    times_ms = [(await connect().open(node)).stream.retry_ms for _ in range(50)]
    assert all(time_ms is not None and 2250 <= time_ms <= 3750 for time_ms in times_ms)
    assert len(set(times_ms)) > 10


@pytest.mark.parametrize(
    ("request_parts", "detail"),
    [
        ({"user": "a b"}, "userId 'a b': expected 1 to 255 printable"),
        ({"user": "."}, "userId '.': expected 1 to 255 printable"),
        ({"user": ".."}, "userId '..': expected 1 to 255 printable"),
        ({"user": ""}, "userId '': expected 1 to 255 printable"),
        ({"query": "channels=news"}, "channels 'news': expected some of system-events, analytics"),
        ({"query": "channels=system-events,news"}, "channels 'news': expected some of"),
        ({"query": "channels=user-events"}, "channels 'user-events': expected some of"),
        ({"query": "channels=room:"}, "channels 'room:': expected some of"),
        (
            {"query": "channels=" + ",".join(f"room:{n}" for n in range(51))},
            "channels: expected at",
        ),
        (
            {"query": "&".join(f"channels=room:{n}" for n in range(51))},
            "channels: expected at most",
        ),
        ({"query": "replay=-1"}, "replay '-1': expected a number from 0 to 1000"),
        ({"query": "replay=1001"}, "replay '1001': expected a number from 0 to 1000"),
        ({"query": "replay="}, "replay '': expected a number from 0 to 1000"),
        ({"query": "replay=all"}, "replay 'all': expected a number from 0 to 1000"),
        ({"query": "since="}, "since '': expected the id of an event"),
        ({"query": "since=5"}, "since '5': expected the id of an event"),
        ({"query": "since=0-5&replay=1"}, "since and replay: expected only one of them"),
        ({"query": "replay=x", "last_event_id": "0-5"}, "replay 'x': expected a number"),
        ({"query": "a=%ff"}, "query: expected at most 64 parameters"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_request_that_makes_no_sense_is_refused(
    node: Node, request_parts: Mapping[str, str], detail: str, method: str
) -> None:
    with pytest.raises(RequestError) as caught:
        refusal(node, **request_parts, method=method)
    assert caught.value.status == 400
    assert caught.value.detail.startswith(detail)
    assert len(node.streams) == 0


async def test_head_is_answered_with_the_head_alone(node: Node, connect: Connect) -> None:
    node.streams.serving = False
    client = await connect().open(node, method="HEAD")
    await client.closed()
    assert client.head.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream")
    assert client.events == []
    assert node.streams.opened == 0


# Resuming


@pytest.mark.parametrize("way", ["header", "lastEventId", "last_event_id"])
async def test_stream_goes_on_after_the_last_event_id(
    node: Node, connect: Connect, way: str
) -> None:
    for position, user in [(5, "1"), (6, "2"), (7, "1"), (8, "1")]:
        node.publish(user, position, b"%d" % position)
    query = "" if way == "header" else urlencode({way: "0-5"})
    client = await connect().open(node, "1", "0-5" if way == "header" else "", query)
    node.publish("1", 9, b"9")
    assert client.events == [
        Event("sse.open", '{"serverId":"node-1","resumed":true,"replayed":2}', "0-5"),
        *(
            Event("message", f'{{"eventType":"t","data":{position}}}', f"0-{position}")
            for position in (7, 8, 9)
        ),
    ]
    assert (node.streams.resumed, node.streams.replayed) == (1, 2)


async def test_the_last_event_id_goes_before_a_first_connections_parameters(
    node: Node, connect: Connect
) -> None:
    for position in (5, 6, 7):
        node.publish("1", position)
    for query in ("replay=1", "since=0-5", "since=0-99"):
        client = await connect().open(node, "1", "0-6", query)
        assert [event.last_event_id for event in client.events] == ["0-6", "0-7"]
        client = await connect().open(node, "1", query=f"{query}&lastEventId=0-6")
        assert [event.last_event_id for event in client.events] == ["0-6", "0-7"]
    client = await connect().open(node, "1", "nonsense", "since=0-5")
    assert client.events[0].data == '{"reason":"bad-id"}'


@pytest.mark.parametrize(
    ("query", "ids", "resumed"),
    [
        ("replay=1", [8, 9, 10], False),
        ("replay=3", [5, 7, 8, 9, 10], False),
        ("replay=4", [2, 5, 7, 8, 9, 10], False),
        ("replay=3&channels=room:1", [6, 7, 8, 9, 10], False),
        ("replay=1000&channels=room:1", [2, 5, 6, 7, 8, 9, 10], False),
        ("replay=0", [9, 10], False),
        ("since=0-7", [7, 8, 9, 10], True),
        ("since=0-5&channels=room:1", [5, 6, 7, 8, 9, 10], True),
    ],
)
async def test_first_connection_begins_in_the_past(
    node: Node, connect: Connect, query: str, ids: list[int], resumed: bool
) -> None:
    node.publish("nobody", 2)
    node.publish("1", 5)
    node.publish_named("room:1", 6)
    for position in (7, 8, 9):
        node.publish("1", position)
    client = await connect().open(node, "1", query=query)
    node.publish("1", 10)
    assert [event.last_event_id for event in client.events] == [f"0-{each}" for each in ids]
    opened = json.loads(client.events[0].data)
    assert (opened["resumed"], opened["replayed"]) == (resumed, len(ids) - 2)


async def test_first_connection_since_an_id_that_proves_nothing_is_reset(
    node: Node, connect: Connect
) -> None:
    node.publish("1", 5)
    client = await connect().open(node, "1", query="since=0-4")
    assert client.events[0] == Event("sse.reset", '{"reason":"unavailable"}', "0-5")


@pytest.mark.parametrize("reason", ["not-serving", "full"])
async def test_first_connection_is_refused_that_had_to_wait_for_the_log(
    node: Node, reason: str
) -> None:
    node.publish("1", 5)
    answer = node.event_stream.get(request_of("1", query="replay=2"))
    assert inspect.isawaitable(answer)
    if reason == "full":
        node.streams.max_streams = 0
    else:
        node.streams.serving = False
    assert isinstance(await answer, Response)
    assert node.streams.refused == {reason: 1}


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from(["1", "2", "room:1", "room:2"]), min_size=1, max_size=30),
    st.integers(1, 8),
    st.integers(0, 5),
)
async def test_the_last_events_and_those_that_follow_are_a_stream_without_a_gap(
    make_node: MakeNode, published: list[str], count: int, live: int
) -> None:
    node = make_node()
    for _ in range(count):  # memory has enough
        node.publish("1", node.history.position + 1)
    first = node.history.position
    publish = {"1": node.publish, "2": node.publish}
    for position, name in enumerate(published, first + 1):
        publish.get(name, node.publish_named)(name, position)
    client = await Client().open(node, "1", query=f"replay={count}&channels=room:1")
    for position in range(node.history.position + 1, node.history.position + 1 + live):
        publish_next = (node.publish, node.publish_named)[position % 2]
        publish_next(("1", "room:1")[position % 2], position)
    heard = [*range(1, first + 1)]
    heard += [at for at, name in enumerate(published, first + 1) if name not in {"2", "room:2"}]
    heard = heard[-count:] + list(
        range(node.history.position - live + 1, node.history.position + 1)
    )
    assert [event.last_event_id for event in client.events[1:]] == [f"0-{at}" for at in heard]
    client.transport.dispose()


async def test_the_header_goes_before_the_query(node: Node, connect: Connect) -> None:
    for position in (5, 6, 7):
        node.publish("1", position)
    client = await connect().open(node, "1", "0-6", "lastEventId=0-5")
    assert [event.last_event_id for event in client.events] == ["0-6", "0-7"]


async def test_stream_that_missed_nothing_goes_on_from_the_nodes_position(
    node: Node, connect: Connect
) -> None:
    node.publish("1", 5)
    node.publish("2", 6)
    client = await connect().open(node, "1", "0-5")
    assert client.events == [
        Event("sse.open", '{"serverId":"node-1","resumed":true,"replayed":0}', "0-6")
    ]


async def test_event_between_the_request_and_the_stream_is_in_the_replay(
    node: Node, connect: Connect
) -> None:
    node.publish("1", 5)
    answer = node.event_stream.get(request_of("1", "0-5"))
    assert isinstance(answer, StreamPlan)
    node.publish("1", 6)
    client = connect()
    answer.open(client.transport, HEADERS)
    node.publish("1", 7)
    assert [event.last_event_id for event in client.events] == ["0-5", "0-6", "0-7"]


@pytest.mark.parametrize(
    "payload", [b"{", b'{"userId":"1","eventType":"open","data":1}'], ids=["json", "type"]
)
async def test_replay_that_cannot_be_encoded_is_a_reset(
    node: Node, connect: Connect, payload: bytes
) -> None:
    node.publish("1", 5)
    node.publish("1", 6)
    node.history.append(7, "1", payload)
    node.publish("1", 8)
    client = await connect().open(node, "1", "0-5")
    assert [(event.type, event.last_event_id) for event in client.events] == [
        ("sse.reset", "0-8"),
        ("sse.open", "0-8"),
    ]
    assert json.loads(client.events[0].data) == {"reason": "unavailable"}
    assert json.loads(client.events[1].data)["resumed"] is False
    assert node.streams.resets == {"unavailable": 1}
    assert (node.streams.resumed, node.streams.replayed) == (0, 0)


@pytest.mark.parametrize(
    ("last_event_id", "reason"),
    [("nonsense", "bad-id"), ("5", "bad-id"), ("0-5, 0-6", "bad-id"), ("ü", "bad-id"),
     ("0-4", "unavailable")],
)  # fmt: skip
async def test_stream_that_cannot_go_on_is_told_so_first(
    node: Node, connect: Connect, last_event_id: str, reason: str
) -> None:
    node.publish("1", 5)
    node.publish("1", 6)
    client = await connect().open(node, "1", last_event_id)
    assert client.events == [
        Event("sse.reset", f'{{"reason":"{reason}"}}', "0-6"),
        Event("sse.open", '{"serverId":"node-1","resumed":false,"replayed":0}', "0-6"),
    ]
    assert node.streams.resets == {reason: 1}
    assert node.streams.resumed == 0


STEPS = st.lists(
    st.tuples(st.sampled_from(["publish", "open", "cut"]), st.sampled_from("12")), max_size=30
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
async def test_a_client_that_comes_back_sees_every_event_once(
    make_node: MakeNode, steps: list[tuple[str, str]]
) -> None:
    node, position, published = make_node(), 1, list[tuple[int, str]]()
    node.publish("nobody", position)  # a log is never empty
    clients: dict[str, Client] = {}
    last_ids: dict[str, str] = {}
    first: dict[str, int] = {}
    seen: dict[str, list[str]] = {"1": [], "2": []}
    comings_back = [("open", "1"), ("open", "2"), ("cut", "1"), ("cut", "2")]
    for step, user in [*steps, *comings_back]:
        if step == "publish":
            position += 1
            published.append((position, user))
            node.publish(user, position)
        elif step == "open" and user not in clients:
            first.setdefault(user, position)
            clients[user] = await Client().open(node, user, last_ids.get(user, ""))
        elif step == "cut" and user in clients:
            client = clients.pop(user)
            assert client.events[0].type == "sse.open"
            seen[user] += [event.last_event_id for event in client.events[1:]]
            last_ids[user] = client.stream.last_event_id
            await client.leave()
            client.transport.dispose()
    for user, ids in seen.items():
        assert ids == [
            format_position(at).decode()
            for at, whose in published
            if whose == user and at > first[user]
        ]
    assert len(node.streams) == 0


# Refusing


@pytest.mark.parametrize("reason", ["not-serving", "full"])
async def test_refusal_lets_an_eventsource_come_back(
    make_node: MakeNode, connect: Connect, reason: str
) -> None:
    node = make_node(max_streams=1)
    if reason == "full":
        await connect().open(node)
        assert node.streams.full
    else:
        node.streams.serving = False
    response = refusal(node, last_event_id="0-5")
    assert response.status == 200
    assert dict(response.headers)[b"Content-Type"] == b"text/event-stream; charset=utf-8"
    assert dict(response.headers)[b"Cache-Control"] == b"no-store, no-transform"
    parsed = parse_event_stream(response.content)
    assert parsed.events == []
    assert parsed.retry_ms is not None
    assert 2250 <= parsed.retry_ms <= 3750
    assert node.streams.refused == {reason: 1}


@pytest.mark.parametrize("reason", ["not-serving", "full"])
async def test_stream_is_refused_that_had_to_wait_for_the_log(
    make_node: MakeNode, reason: str
) -> None:
    node = make_node()
    node.publish("1", 5)
    answer = node.event_stream.get(request_of("1", "0-4"))
    assert inspect.isawaitable(answer)
    node.history.reset(4)  # what the log would have proven
    if reason == "full":
        node.streams.max_streams = 0
    else:
        node.streams.serving = False
    assert isinstance(await answer, Response)
    assert node.streams.refused == {reason: 1}


@pytest.mark.parametrize(
    ("last_event_id", "query", "is_subscribed"),
    [("0-4", "", True), ("", "replay=2", True), ("", "", False), ("", "replay=2", False)],
    ids=["an id in the log", "last events in the log", "subscribing", "both"],
)
async def test_access_that_ends_while_the_caller_waits(
    node: Node,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
    last_event_id: str,
    query: str,
    is_subscribed: bool,
) -> None:
    async def want() -> bool:
        node.shard.serving = True
        return True

    node.publish("1", 5)
    node.shard.serving = is_subscribed
    monkeypatch.setattr(node.shard, "want", want)
    monkeypatch.setattr(node.opening, "_end_of_access", lambda identity: CloseReason.REVOKED)
    client = await connect().open(node, "1", last_event_id, query)
    assert client.events == [Event("sse.closed", '{"reason":"revoked"}', "")]
    assert len(node.streams) == 0


async def test_access_is_checked_once_without_a_wait(
    node: Node, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node.opening, "_end_of_access", pytest.fail)
    await connect().open(node, "1")
    assert len(node.streams) == 1


@pytest.mark.parametrize("reason", ["unavailable", "trimmed", "rollback"])
async def test_stream_that_is_ahead_of_the_node_comes_back_later(
    node: Node, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    async def lose(*_: object) -> None:
        raise PositionLostError(reason)

    monkeypatch.setattr("sse_node.redis.replay.LogReplay.entries_since", lose)
    node.publish("1", 5)
    answer = node.event_stream.get(request_of("1", "0-9"))
    assert inspect.isawaitable(answer)
    assert isinstance(await answer, Response)
    assert node.streams.refused == {"not-serving": 1}
    assert node.streams.resets == {}


# While they are open, and at their end


async def test_all_streams_are_told_that_they_may_have_missed_events(
    node: Node, connect: Connect
) -> None:
    node.streams.reset_all(node.hub, "rollback", node.history.position)
    assert node.streams.resets == {}
    clients = [await connect().open(node, user) for user in "12"]
    node.publish("1", 5)
    node.streams.reset_all(node.hub, "rollback", node.history.position)
    for client in clients:
        assert client.events[-1] == Event("sse.reset", '{"reason":"rollback"}', "0-5")
    assert node.streams.resets == {"rollback": 2}


async def test_client_that_leaves_is_forgotten(node: Node, connect: Connect) -> None:
    staying, leaving = await connect().open(node, "1"), await connect().open(node, "1")
    await leaving.leave()
    assert len(node.streams) == 1
    assert node.streams.closed == {CloseReason.CLIENT_LEFT: 1}
    node.publish("1", 5)
    assert len(staying.events) == 2
    await staying.leave()
    assert len(node.streams) == node.hub.connected_users == 0
    assert list(node.hub.audiences()) == []


async def test_drain_ends_every_stream_with_its_own_reconnection_time(
    node: Node, connect: Connect
) -> None:
    clients = [await connect().open(node) for _ in range(20)]
    await drain(node.streams, node.retry, 0.2)
    assert not node.streams.serving
    for client in clients:
        await client.closed()
    assert len({client.stream.retry_ms for client in clients}) > 5
    assert all(len(client.events) == 1 for client in clients)
    assert node.streams.closed == {CloseReason.DRAIN: 20}
    assert len(node.streams) == 0


async def test_shutdown_closes_what_is_left(node: Node, connect: Connect) -> None:
    node.streams.start()
    clients = [await connect().open(node) for _ in range(2)]
    node.streams.shutdown()
    for client in clients:
        await client.closed()
    assert node.streams.closed == {CloseReason.DRAIN: 2}
    assert len(node.streams) == 0


async def test_streams_are_pinged(make_node: MakeNode, connect: Connect) -> None:
    node = make_node(ping_interval=0.1)
    node.streams.start()
    client = await connect().open(node)
    ping = await client.until_event(2)
    node.streams.shutdown()
    assert ping.type == "ping"
    assert ping.last_event_id == client.events[0].last_event_id
    assert json.loads(ping.data)["serverId"] == "node-1"
    assert json.loads(ping.data)["type"] == "ping"
    assert json.loads(ping.data)["timestamp"] > 1.7e12


async def test_streams_end_at_their_age(make_node: MakeNode, connect: Connect) -> None:
    node = make_node(max_stream_age=0.1)
    node.streams.start()
    client = await connect().open(node)
    await client.closed()
    node.streams.shutdown()
    assert node.streams.closed == {CloseReason.MAX_AGE: 1}
    assert client.stream.retry_ms is not None

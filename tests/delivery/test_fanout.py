"""The per-event path: from one read's messages to one write per stream."""

import gc
import sys
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sse_node.delivery.fanout import Fanout, Message
from sse_node.delivery.history import History
from sse_node.delivery.hub import Hub, channel_audience
from sse_node.errors import PublisherError
from sse_node.wire.envelope import (
    DROP_REASONS,
    encode_channel_envelope,
    encode_envelope,
    insert_id,
)
from sse_node.wire.event_id import format_position
from tests.support.event_stream_parser import parse_event_stream

SYSTEM = channel_audience("system-events")
ROOM, OTHER_ROOM = channel_audience("room:1"), channel_audience("room:2")
GARBAGE = b'{"userId":"1","eventType":"t"'


class RecordingStream:
    """A stream whose client reads everything at once."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    @property
    def events(self) -> list[tuple[str, str]]:
        """Return id and data of what the client has seen."""
        return [
            (event.last_event_id, event.data)
            for event in parse_event_stream(b"".join(self.writes)).events
        ]


class Node:
    """A fan-out with what it needs, and streams of users 1 and 2."""

    def __init__(self, *, max_event_bytes: int = 1000, event_names: bool = False) -> None:
        self.hub = Hub()
        self.history = History(100, 1 << 20)
        self.errors: list[PublisherError] = []
        self.fanout = Fanout(
            self.hub,
            self.history,
            max_event_bytes=max_event_bytes,
            event_names=event_names,
            on_dropped=self.errors.append,
        )
        self.fanout.log_name = b"log"

    def open(self, *audiences: str) -> RecordingStream:
        stream = RecordingStream()
        self.hub.add(stream, audiences)
        return stream


def message(user: str, data: bytes = b"1", position: int | None = None) -> Message:
    return of_channel(b"user-events", encode_envelope(user, "t", data, broadcast=False), position)


def broadcast(channel: str, data: bytes = b"1", position: int | None = None) -> Message:
    payload = encode_envelope(channel, "t", data, broadcast=True)
    return of_channel(channel.encode(), payload, position)


def named(channel: str, data: bytes = b"1", position: int | None = None) -> Message:
    payload = encode_channel_envelope(channel, "t", data)
    return of_channel(b"channel-events", payload, position)


def of_channel(channel: bytes, payload: bytes, position: int | None = None) -> Message:
    if position is not None:
        payload = insert_id(payload, format_position(position), b"log")
    return [b"message", channel, payload]


def test_nothing_comes_of_nothing() -> None:
    node = Node()
    stream = node.open("1")
    node.fanout.deliver([])
    assert stream.writes == []
    assert node.fanout.messages == 0


def test_event_is_written_to_every_stream_of_its_user_and_to_no_other() -> None:
    node = Node()
    mine, also_mine, other = node.open("1"), node.open("1", SYSTEM), node.open("2", SYSTEM)
    node.fanout.deliver([message("1", b'{"a":1}', position=7)])
    assert mine.writes == [b'id: 0-7\ndata: {"eventType":"t","a":1}\n\n']
    assert also_mine.writes == mine.writes
    assert other.writes == []
    assert node.fanout.deliveries == 2
    assert node.fanout.delivered_bytes == 2 * len(mine.writes[0])


def test_batch_of_one_user_is_one_write() -> None:
    node = Node()
    one, other = node.open("1"), node.open("2")
    node.fanout.deliver([message("1", b"1"), message("2", b"2"), message("1", b"3")])
    assert one.writes == [
        b'data: {"eventType":"t","data":1}\n\ndata: {"eventType":"t","data":3}\n\n'
    ]
    assert other.writes == [b'data: {"eventType":"t","data":2}\n\n']
    assert node.fanout.messages == node.fanout.deliveries == 3


def test_broadcast_goes_to_all_that_have_the_channel() -> None:
    node = Node()
    one, other, without = node.open("1", SYSTEM), node.open("2", SYSTEM), node.open("1")
    node.fanout.deliver([broadcast("system-events", b'"all"')])
    assert one.writes == other.writes == [b'data: {"eventType":"t","data":"all"}\n\n']
    assert without.writes == []


def test_events_of_several_channels_keep_their_order() -> None:
    node = Node()
    stream = node.open("1", SYSTEM)
    node.fanout.deliver(
        [
            broadcast("system-events", b"1"),
            message("1", b"2"),
            message("1", b"3"),
            broadcast("system-events", b"4"),
            message("1", b"5"),
        ]
    )
    assert [data for _, data in stream.events] == [
        '{"eventType":"t","data":%d}' % number  # noqa: UP031
        for number in range(1, 6)
    ]
    assert len(stream.writes) == 4


def test_event_of_a_named_channel_goes_to_all_that_have_it() -> None:
    node = Node()
    one, both, other = node.open("1", ROOM), node.open(ROOM, OTHER_ROOM), node.open("room:1")
    node.fanout.deliver([named("room:1", b"1", 7), named("room:3", b"2", 8)])
    assert one.writes == both.writes == [b'id: 0-7\ndata: {"eventType":"t","data":1}\n\n']
    assert other.writes == []
    assert node.history.position == 8
    assert [position for position, _ in node.history.since(0, [ROOM])] == [7]


def test_stream_with_several_named_channels_keeps_their_order_in_one_write() -> None:
    node = Node()
    both, one, other = node.open(ROOM, OTHER_ROOM), node.open(ROOM), node.open(OTHER_ROOM)
    node.fanout.deliver([named(f"room:{1 + n % 2}", b"%d" % n, n + 1) for n in range(6)])
    assert [event_id for event_id, _ in both.events] == [f"0-{n}" for n in range(1, 7)]
    assert [event_id for event_id, _ in one.events] == ["0-1", "0-3", "0-5"]
    assert [event_id for event_id, _ in other.events] == ["0-2", "0-4", "0-6"]
    assert len(both.writes) == len(one.writes) == len(other.writes) == 1
    assert node.fanout.deliveries == 12
    assert node.fanout.delivered_bytes == sum(map(len, [*both.writes, *one.writes, *other.writes]))


def test_streams_of_one_named_channel_share_the_bytes_of_a_batch() -> None:
    node = Node()
    streams = [node.open(ROOM), node.open(ROOM), node.open(OTHER_ROOM)]
    node.fanout.deliver([named("room:1"), named("room:2"), named("room:1")])
    assert streams[0].writes[0] is streams[1].writes[0]
    assert [len(stream.events) for stream in streams] == [2, 2, 1]


def test_plain_publish_on_a_named_channel_has_no_id() -> None:
    node = Node()
    stream = node.open(ROOM)
    node.fanout.deliver([of_channel(b"channel-events", b'{"channel":"room:1",'
                                    b'"eventType":"t","data":{},"id":"7-1"}')])  # fmt: skip
    assert stream.events == [("", '{"eventType":"t"}')]
    assert node.history.position == 0


def test_100000_names_leave_nothing_behind() -> None:
    node = Node()
    node.fanout.deliver([named("room:first", b"1", 1)])
    gc.collect()
    blocks = sys.getallocatedblocks()
    for number in range(100_000):
        name = f"room:{number}"
        audiences = (channel_audience(name), SYSTEM)
        stream = node.open(*audiences)
        node.fanout.deliver([named(name, b"1", 2 + number), named(f"{name}-unheard")])
        assert len(stream.writes) == 1
        node.hub.remove(stream, audiences)
    assert len(node.history) == 100, "the history holds the newest"
    node.history.reset(0)
    gc.collect()
    assert list(node.hub.audiences()) == []
    assert node.hub.connected_users == len(node.history) == 0
    assert sys.getallocatedblocks() - blocks < 1000


def test_a_user_in_a_broadcast_says_nothing() -> None:
    node = Node()
    user, channel = node.open("1"), node.open("2", SYSTEM)
    payload = b'{"userId":"1","eventType":"t","data":1}'
    node.fanout.deliver([of_channel(b"system-events", payload)])
    assert user.writes == []
    assert len(channel.events) == 1


def test_event_type_is_in_the_event_field_when_asked_for() -> None:
    node = Node(event_names=True)
    stream = node.open("1")
    node.fanout.deliver([message("1")])
    assert stream.writes == [b'event: t\ndata: {"eventType":"t","data":1}\n\n']


def test_entry_of_the_log_is_remembered_whether_or_not_somebody_wants_it() -> None:
    node = Node()
    node.open("1")
    node.fanout.deliver([message("1", position=5), message("2", position=6), message("3")])
    assert node.history.position == 6
    assert len(node.history) == 2
    assert [position for position, _ in node.history.since(4, ["1", "2", "3"])] == [5, 6]


def test_entry_that_comes_again_is_delivered_once() -> None:
    node = Node()
    stream = node.open("1")
    node.fanout.deliver([message("1", b"1", 5), message("1", b"1", 5), message("1", b"2", 6)])
    node.fanout.deliver([message("1", b"1", 5), message("1", b"2", 6), message("1", b"3", 7)])
    assert [event_id for event_id, _ in stream.events] == ["0-5", "0-6", "0-7"]
    assert node.fanout.duplicates == 3
    assert node.fanout.messages == 6


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b'{"userId":"1","eventType":"t","data":"' + b"x" * 1000 + b'"}', "too-large"),
        (b'{"userId":"1","eventType":"t","data":"\xff"}', "not-utf8"),
        (GARBAGE, "not-json"),
        (b'{"userId":"1","eventType":"t","data":' + b"[" * 900, "not-json"),
        (b'{"eventType":"t","data":1}', "bad-field"),
        (b'{"userId":1.5,"eventType":"t","data":1}', "bad-field"),
        (b'{"userId":"1","eventType":"open","data":1}', "bad-field"),
    ],
)
def test_payload_of_which_no_event_can_be_made_is_counted_and_costs_no_other(
    payload: bytes, reason: str
) -> None:
    node = Node()
    stream = node.open("1")
    node.fanout.deliver(
        [message("1", b"1"), of_channel(b"user-events", payload), message("1", b"2")]
    )
    assert len(stream.events) == 2
    assert len(stream.writes) == 1
    assert node.fanout.dropped == {reason: 1}
    assert [error.reason for error in node.errors] == [reason]


def test_entry_of_the_log_that_no_event_can_be_made_of_has_been_seen() -> None:
    node = Node()
    node.fanout.deliver([of_channel(b"user-events", GARBAGE, 5), message("1", b"1", 6)])
    assert node.history.contains(5)
    assert node.history.position == 6
    assert [position for position, _ in node.history.since(5, ["1", ""])] == [6]
    node.fanout.deliver([of_channel(b"user-events", GARBAGE, 5)])
    assert node.history.position == 6


def test_stream_that_goes_in_the_middle_of_a_batch_gets_nothing_more() -> None:
    hub, stream = Hub(), RecordingStream()
    hub.add(stream, ("1",))
    fanout = Fanout(
        hub,
        History(10, 1000),
        max_event_bytes=1000,
        event_names=False,
        on_dropped=lambda error: hub.remove(stream, ("1",)),
    )
    fanout.log_name = b"log"
    fanout.deliver([message("1"), of_channel(b"user-events", GARBAGE)])
    assert stream.writes == []
    assert fanout.deliveries == 0


@pytest.mark.parametrize("members", [b"", b'"channel":1,', b'"channel":"a b",', b'"channel":"",'])
def test_named_event_that_names_no_channel_is_counted_and_has_been_seen(members: bytes) -> None:
    node = Node()
    stream = node.open(ROOM)
    payload = b'{%b"eventType":"t","data":1}' % members
    node.fanout.deliver([of_channel(b"channel-events", payload, 5), named("room:1", b"1", 6)])
    assert [event_id for event_id, _ in stream.events] == ["0-6"]
    assert node.fanout.dropped == {"bad-field": 1}
    assert node.history.contains(5)


def test_payload_nested_too_deep_is_counted() -> None:
    node = Node(max_event_bytes=1 << 20)
    payload = b'{"userId":"1","eventType":"t","data":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    node.fanout.deliver([of_channel(b"user-events", payload)])
    assert node.fanout.dropped == {"too-deep": 1}


@pytest.mark.parametrize("levels", [128, 129])
def test_payload_at_the_limit_of_depth(levels: int) -> None:
    node = Node(max_event_bytes=1 << 20)
    stream = node.open("1")
    data = b"[" * levels + b"]" * levels
    node.fanout.deliver([message("1", data, 5), broadcast("system-events", data, 6)])
    is_too_deep = levels > 128
    assert len(stream.events) == (not is_too_deep)
    assert node.fanout.dropped == ({"too-deep": 2} if is_too_deep else {})
    assert len(node.history.since(4, ("1", SYSTEM))) == (0 if is_too_deep else 2)


def test_event_type_that_is_none_is_counted_and_not_replayed_though_nobody_listens() -> None:
    node = Node()
    payload = b'{"userId":"1","eventType":"open","data":1}'
    for position in (5, 6):
        node.fanout.deliver([of_channel(b"user-events", payload, position)])
    assert node.fanout.dropped == {"bad-field": 2}
    assert node.history.position == 6
    assert node.history.since(4, ("1",)) == []


def test_channel_whose_name_is_not_text_costs_nothing() -> None:
    node = Node()
    stream = node.open("1")
    node.fanout.deliver([of_channel(b"\xff", b'{"eventType":"t","data":1}', 5), message("1")])
    assert len(stream.events) == 1
    assert node.history.position == 5


# Whatever comes

CHANNELS = st.sampled_from(
    [b"user-events", b"channel-events", b"system-events", b"analytics-events", b"\xff\xfe"]
)
DATA = st.integers(0, 99).map(b"%d".__mod__)
AT = st.none() | st.integers(1, 30)
GOOD = (
    st.builds(message, st.sampled_from("123"), DATA, AT)
    | st.builds(broadcast, st.sampled_from(["system-events", "analytics-events"]), DATA, AT)
    | st.builds(named, st.sampled_from(["room:1", "room:2", "room:3"]), DATA, AT)
)
ANY = st.builds(lambda channel, payload: [b"message", channel, payload], CHANNELS, st.binary())
BATCHES = st.lists(st.lists(GOOD | ANY, max_size=8), max_size=5)


@settings(deadline=None)
@given(BATCHES, st.booleans())
@example([[message("1", b"1", 2**128 - 1), message("1", b"1", 1)]], True)
def test_every_message_is_delivered_once_in_order_or_counted(
    batches: Sequence[Sequence[Message]], event_names: bool
) -> None:
    node = Node(event_names=event_names)
    streams = {
        audiences: node.open(*audiences)
        for audiences in [("1", SYSTEM), ("1",), ("2", SYSTEM, ROOM), (ROOM, OTHER_ROOM), (ROOM,)]
    }
    for batch in batches:
        node.fanout.deliver(batch)

    # The same one by one, without batches.
    plain = Node(event_names=event_names)
    expected = {audiences: plain.open(*audiences) for audiences in streams}
    for batch in batches:
        for each in batch:
            plain.fanout.deliver([each])

    for audiences, stream in streams.items():
        assert stream.events == expected[audiences].events
        assert all(write.endswith(b"\n\n") for write in stream.writes)
        positions = [
            tuple(map(int, event_id.split("-"))) for event_id, _ in stream.events if event_id
        ]
        assert positions == sorted(positions)
    counts = (node.fanout, plain.fanout)
    assert counts[0].messages == sum(map(len, batches))
    assert counts[0].dropped == counts[1].dropped
    assert counts[0].duplicates == counts[1].duplicates
    assert (
        counts[0].deliveries
        == counts[1].deliveries
        == sum(len(stream.events) for stream in streams.values())
    )
    assert counts[0].delivered_bytes == sum(
        len(write) for stream in streams.values() for write in stream.writes
    )
    assert set(counts[0].dropped) <= set(DROP_REASONS)
    assert sum(counts[0].dropped.values()) == len(node.errors)

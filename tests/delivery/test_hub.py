"""Which streams want which audience."""

from collections import defaultdict

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sse_node.delivery.hub import Hub, Stream, channel_audience

AUDIENCES = ["1", "2", channel_audience("system-events")]


class NoStream:
    """What the hub needs of a stream: to be one."""

    def write(self, data: bytes) -> None:
        raise AssertionError("the hub writes nothing")


def streams_of(hub: Hub, audience: str) -> set[Stream]:
    """The streams of an audience that somebody wants, each of which the hub has once."""
    streams = hub.streams_of(audience)
    assert streams is not None
    assert len(set(streams)) == len(streams)
    return set(streams)


def test_channel_is_no_user() -> None:
    assert channel_audience("system-events") == " system-events"


def test_stream_is_found_by_each_of_its_audiences() -> None:
    hub, one, other = Hub(), NoStream(), NoStream()
    hub.add(one, ("1", " system-events"))
    hub.add(other, ("2", " system-events"))
    assert streams_of(hub, "1") == {one}
    assert streams_of(hub, "2") == {other}
    assert streams_of(hub, " system-events") == {one, other}
    assert hub.streams_of("3") is None
    assert sorted(hub.audiences()) == [" system-events", "1", "2"]


def test_audience_may_grow_large_and_shrink_to_nothing() -> None:
    hub, streams = Hub(), [NoStream() for _ in range(20)]
    for number, stream in enumerate(streams, 1):
        hub.add(stream, ("1",))
        assert streams_of(hub, "1") == set(streams[:number])
    for number, stream in enumerate(streams[:-1], 1):
        hub.remove(stream, ("1",))
        assert streams_of(hub, "1") == set(streams[number:])
    hub.remove(streams[-1], ("1",))
    assert hub.streams_of("1") is None
    assert hub.connected_users == 0


def test_audience_that_nobody_wants_is_gone() -> None:
    hub, one, other = Hub(), NoStream(), NoStream()
    hub.add(one, ("1",))
    hub.add(other, ("1",))
    hub.remove(one, ("1",))
    assert streams_of(hub, "1") == {other}
    hub.remove(other, ("1",))
    assert hub.streams_of("1") is None
    assert list(hub.audiences()) == []


def test_users_are_counted_once_and_channels_never() -> None:
    hub, one, other = Hub(), NoStream(), NoStream()
    hub.add(one, ("1", " system-events"))
    assert hub.connected_users == 1
    hub.add(other, ("1", " system-events"))
    assert hub.connected_users == 1
    hub.remove(one, ("1", " system-events"))
    assert hub.connected_users == 1
    hub.remove(other, ("1", " system-events"))
    assert hub.connected_users == 0


class HubBesideModel(RuleBasedStateMachine):
    """Streams come and go; a plain list of them knows what the hub must say."""

    def __init__(self) -> None:
        super().__init__()
        self.hub = Hub()
        self.streams: list[tuple[NoStream, frozenset[str]]] = []

    @rule(audiences=st.frozensets(st.sampled_from(AUDIENCES), min_size=1))
    def add(self, audiences: frozenset[str]) -> None:
        self.streams.append((NoStream(), audiences))
        self.hub.add(*self.streams[-1])

    @precondition(lambda self: self.streams)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        stream = data.draw(st.sampled_from(self.streams))
        self.streams.remove(stream)
        self.hub.remove(*stream)

    @invariant()
    def it_knows_who_wants_what(self) -> None:
        wanted = defaultdict(set)
        for stream, audiences in self.streams:
            for audience in audiences:
                wanted[audience].add(stream)
        assert {name: streams_of(self.hub, name) for name in self.hub.audiences()} == wanted
        assert self.hub.connected_users == len(set(wanted) - {" system-events"})


TestHubBesideModel = HubBesideModel.TestCase
TestHubBesideModel.settings = settings(deadline=None, max_examples=30, stateful_step_count=30)

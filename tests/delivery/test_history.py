"""The recent events in memory: complete from a known id, or not known."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sse_node.delivery.history import History


def history_of(*entries: tuple[int, str, bytes], limit: int = 100) -> History:
    history = History(limit, 1 << 20)
    for entry in entries:
        assert history.append(*entry)
    return history


def test_empty_history_knows_its_position_alone() -> None:
    history = History(10, 1000)
    assert len(history) == 0
    assert history.position == history.oldest == history.payload_bytes == 0
    assert history.contains(0)
    assert not history.contains(1)
    assert history.since(0, ["1"]) == []


def test_replay_is_what_came_after_an_id_for_these_audiences() -> None:
    history = history_of(
        (10, "1", b"a"), (20, "2", b"b"), (30, "#s", b"c"), (40, "1", b"d"), (50, "2", b"e")
    )
    assert history.since(10, ["1", "#s"]) == [(30, b"c"), (40, b"d")]
    assert history.since(30, ["#s", "1", "2"]) == [(40, b"d"), (50, b"e")]
    assert history.since(50, ["1", "2", "#s"]) == []
    assert history.since(10, ["3"]) == []
    assert history.since(10, []) == []


@pytest.mark.parametrize(
    ("count", "audiences", "start", "positions"),
    [
        (1, ["1"], 30, [40]),
        (2, ["1"], 20, [30, 40]),
        (3, ["1"], 10, [20, 30, 40]),
        (4, ["1"], 10, [20, 30, 40]),
        (2, ["2", "#s"], 25, [35, 50]),
        (9, ["#s", "1", "2", "3"], None, [10, 20, 25, 30, 35, 40, 50]),
        (3, ["3"], 10, []),
        (3, [], 10, []),
        (0, ["1"], 40, []),
    ],
)
def test_last_entries_of_these_audiences(
    count: int, audiences: list[str], start: int | None, positions: list[int]
) -> None:
    history = history_of(
        (10, "2", b"a"), (20, "1", b"b"), (25, "2", b"c"), (30, "1", b"d"), (35, "#s", b"e"),
        (40, "1", b"f"), (50, "2", b"g"),
    )  # fmt: skip
    replay = history.last(count, audiences)
    assert [position for position, _ in replay.entries] == positions
    assert replay.start == start
    if start is not None:
        assert history.since(start, audiences) == replay.entries


@pytest.mark.parametrize("position", [9, 10, 20, 30, 40])
def test_all_since_is_what_came_after_an_id_for_whomever(position: int) -> None:
    entries = [(10, "1", b"a"), (20, "2", b"b"), (30, "1", b"c"), (40, "#s", b"d")]
    assert history_of(*entries).all_since(position) == [e for e in entries if e[0] > position]


@pytest.mark.parametrize(
    ("position", "is_known"), [(0, False), (10, True), (15, False), (20, True), (21, False)]
)
def test_only_ids_of_the_log_are_known(position: int, is_known: bool) -> None:
    assert history_of((10, "1", b"a"), (20, "2", b"b")).contains(position) is is_known


@pytest.mark.parametrize("position", [1, 19, 20])
def test_entry_that_is_not_above_the_position_has_been_seen(position: int) -> None:
    history = history_of((10, "1", b"a"), (20, "1", b"b"))
    assert not history.append(position, "1", b"again")
    assert len(history) == 2
    assert history.position == 20
    assert history.payload_bytes == 2


def test_the_oldest_go_when_there_are_too_many() -> None:
    history = history_of((10, "1", b"a"), (20, "2", b"bb"), (30, "1", b"c"), limit=2)
    assert len(history) == 2
    assert history.oldest == 20
    assert not history.contains(10)
    assert history.since(20, ["1", "2"]) == [(30, b"c")]
    assert history.payload_bytes == 3


def test_a_replay_from_before_the_oldest_is_not_made() -> None:
    history = history_of((10, "1", b"a"), (20, "1", b"b"), (30, "1", b"c"), limit=2)
    with pytest.raises(KeyError):
        history.since(9, ["1"])


def test_the_oldest_go_when_they_are_too_large() -> None:
    history = History(100, 10)
    history.append(10, "1", b"x" * 4)
    history.append(20, "1", b"x" * 6)
    assert len(history) == 2
    history.append(30, "2", b"x" * 5)
    assert history.oldest == 30
    assert history.payload_bytes == 5
    assert history.since(30, ["1"]) == []


def test_the_newest_is_kept_whatever_its_size() -> None:
    history = History(100, 10)
    history.append(10, "1", b"x")
    history.append(20, "1", b"x" * 100)
    assert len(history) == 1
    assert history.contains(20)
    assert history.payload_bytes == 100


def test_history_of_one_knows_its_last_entry() -> None:
    history = history_of((10, "1", b"a"), (20, "1", b"b"), limit=1)
    assert history.oldest == 20
    assert history.contains(20)
    assert not history.contains(10)


def test_restart_forgets_all_and_goes_on_from_elsewhere() -> None:
    history = history_of((10, "1", b"a"), (20, "1", b"b"))
    history.reset(5)
    assert len(history) == 0
    assert history.position == history.oldest == 5
    assert history.payload_bytes == 0
    assert history.contains(5)
    assert not history.contains(20)
    assert history.append(6, "1", b"c")
    assert history.since(5, ["1"]) == [(6, b"c")]


AUDIENCES = ["1", "2", "#s"]


class HistoryBesideModel(RuleBasedStateMachine):
    """Entries come; the list of all that ever came knows what a replay must hold."""

    LIMIT, LIMIT_BYTES = 5, 30

    def __init__(self) -> None:
        super().__init__()
        self.history = History(self.LIMIT, self.LIMIT_BYTES)
        self.all: list[tuple[int, str, bytes]] = []
        self.position = 0

    @rule(
        step=st.integers(-2, 3),
        audience=st.sampled_from(AUDIENCES),
        payload=st.binary(max_size=12) | st.just(b"x" * 40),
    )
    def append(self, step: int, audience: str, payload: bytes) -> None:
        entry = (self.position + step, audience, payload)
        assert self.history.append(*entry) == (step > 0)
        if step > 0:
            self.all.append(entry)
            self.position += step

    @rule(position=st.integers(0, 50))
    def restart(self, position: int) -> None:
        self.history.reset(position)
        self.position = position
        self.all.clear()

    @invariant()
    def a_replay_from_a_known_id_is_complete(self) -> None:
        for position in range(self.position + 3):
            if not self.history.contains(position):
                continue
            for audiences in (["1"], ["2", "#s"], AUDIENCES, list(reversed(AUDIENCES))):
                assert self.history.since(position, audiences) == [
                    (entry, payload)
                    for entry, audience, payload in self.all
                    if entry > position and audience in audiences
                ]

    @invariant()
    def the_last_entries_are_the_end_of_what_is_held(self) -> None:
        kept = self.all[-len(self.history) :] if self.history else []
        for audiences in (["1"], ["2", "#s"], AUDIENCES):
            held = [(at, payload) for at, audience, payload in kept if audience in audiences]
            for count in range(1, 7):
                start, entries = self.history.last(count, audiences)
                assert entries == held[-count:]
                if start is not None:
                    assert self.history.contains(start)
                    assert self.history.since(start, audiences) == entries

    @invariant()
    def all_that_is_held_after_a_position_is_known_in_order(self) -> None:
        kept = self.all[-len(self.history) :] if self.history else []
        for position in (self.history.oldest - 1, *(entry[0] for entry in kept), self.position):
            held = [entry for entry in kept if entry[0] > position]
            assert self.history.all_since(position) == held

    @invariant()
    def it_is_bounded_and_as_full_as_it_may_be(self) -> None:
        history, kept = self.history, self.all[-len(self.history) :] if self.history else []
        assert history.position == self.position
        assert history.payload_bytes == sum(len(payload) for _, _, payload in kept)
        assert len(history) <= self.LIMIT
        assert history.payload_bytes <= self.LIMIT_BYTES or len(history) == 1
        assert history.oldest == (kept[0][0] if kept else self.position)
        assert history.contains(self.position)
        assert history.contains(history.oldest)
        assert bool(kept) == bool(self.all)


TestHistoryBesideModel = HistoryBesideModel.TestCase
TestHistoryBesideModel.settings = settings(deadline=None, max_examples=40)

"""Other live processes of the same name: an overlapping restart is fine, a second node is not."""

import pytest

from sse_node.redis.namesakes import Namesakes

OTHER = b"0123456789abcdef web-2 pid 77"


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def namesakes(clock: Clock) -> Namesakes:
    return Namesakes("node-1", overlap_s=30, silence_s=10, now=clock)


def hear_for(namesakes: Namesakes, clock: Clock, seconds: int, sender: bytes = OTHER) -> None:
    for _ in range(seconds):
        namesakes.hear(sender)
        clock.now_s += 1


def test_a_restart_may_overlap(namesakes: Namesakes, clock: Clock) -> None:
    hear_for(namesakes, clock, 30)
    assert not namesakes.is_found


def test_a_second_node_is_reported_once(
    namesakes: Namesakes, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    hear_for(namesakes, clock, 100)
    assert namesakes.is_found
    assert caplog.messages == [
        "another live process has the server id node-1 ('web-2 pid 77'); "
        "give each node its own --server-id"
    ]
    clock.now_s += 10
    assert not namesakes.is_found


def test_each_restart_has_its_time(namesakes: Namesakes, clock: Clock) -> None:
    for _ in range(5):
        hear_for(namesakes, clock, 25)
        clock.now_s += 10
    assert not namesakes.is_found


@pytest.mark.parametrize("sender", [b"", None])
def test_its_own_probes_and_those_of_older_nodes_say_nothing(
    namesakes: Namesakes, clock: Clock, sender: bytes | None
) -> None:
    hear_for(namesakes, clock, 100, namesakes.own if sender is None else sender)
    assert not namesakes.is_found


def test_a_foreign_sender_cannot_break_the_log(
    namesakes: Namesakes, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    hear_for(namesakes, clock, 100, b"x \xff\nforged line" + b"y" * 5000)
    assert len(caplog.messages) == 1
    assert "\n" not in caplog.text.strip()
    assert len(caplog.messages[0]) < 300

"""The total of what connections hold: counted, and cut where it has stalled for longest."""

from __future__ import annotations

from sse_node.http.backlog import UNCOUNTED_BYTES, Backlog

KIB = 1024


class Connection:
    """A connection that holds so many bytes."""

    def __init__(self, backlog: Backlog, held_bytes: int) -> None:
        self.held_bytes = held_bytes
        self.aborted = False
        backlog.update(self, held_bytes)

    def abort(self) -> None:
        self.aborted = True


def aborted(*connections: Connection) -> list[bool]:
    return [connection.aborted for connection in connections]


def test_total_is_what_all_hold() -> None:
    backlog = Backlog(100 * KIB)
    first, second = Connection(backlog, 30 * KIB), Connection(backlog, 20 * KIB)
    assert backlog.held_bytes == 50 * KIB
    backlog.update(first, 10 * KIB)
    assert backlog.held_bytes == 30 * KIB
    backlog.discard(second)
    backlog.discard(second)
    assert backlog.held_bytes == 10 * KIB
    backlog.update(first, 0)
    assert backlog.held_bytes == 0


def test_few_bytes_are_not_counted_and_never_cut() -> None:
    backlog = Backlog(10 * KIB)
    beginners = [Connection(backlog, UNCOUNTED_BYTES) for _ in range(100)]
    assert backlog.held_bytes == 0
    Connection(backlog, 11 * KIB)
    assert not any(aborted(*beginners))


def test_connection_that_has_stalled_for_longest_is_cut() -> None:
    backlog = Backlog(100 * KIB)
    first, second, third = (Connection(backlog, 30 * KIB) for _ in range(3))
    backlog.update(first, 31 * KIB)  # it has sent more of its request
    Connection(backlog, 30 * KIB)
    assert aborted(first, second, third) == [False, True, False]
    assert backlog.cut == 1
    assert backlog.held_bytes == 91 * KIB


def test_client_that_reads_is_not_the_first_to_go() -> None:
    backlog = Backlog(100 * KIB)
    reading, stalled = Connection(backlog, 40 * KIB), Connection(backlog, 40 * KIB)
    reading.held_bytes -= 1
    backlog.look()
    assert backlog.held_bytes == 80 * KIB - 1
    Connection(backlog, 40 * KIB)
    assert aborted(reading, stalled) == [False, True]


def test_what_was_read_since_the_last_look_is_not_cut() -> None:
    backlog = Backlog(100 * KIB)
    reading, stalled = Connection(backlog, 40 * KIB), Connection(backlog, 40 * KIB)
    reading.held_bytes = 10 * KIB
    newest = Connection(backlog, 40 * KIB)
    assert aborted(reading, stalled, newest) == [False, False, False]
    assert backlog.held_bytes == 90 * KIB


def test_connection_over_the_limit_alone_is_cut() -> None:
    backlog = Backlog(100 * KIB)
    small, large = Connection(backlog, 20 * KIB), Connection(backlog, 101 * KIB)
    assert aborted(small, large) == [True, True]
    assert backlog.held_bytes == 0
    assert backlog.cut == 2


def test_where_all_read_the_limit_holds_all_the_same() -> None:
    backlog = Backlog(100 * KIB)
    connections = [Connection(backlog, 50 * KIB)]
    for _ in range(10):
        for connection in connections:
            connection.held_bytes -= 1
        connections.append(Connection(backlog, 50 * KIB))
        assert backlog.held_bytes <= 100 * KIB


def test_peak_is_the_most_since_it_was_taken() -> None:
    backlog = Backlog(100 * KIB)
    first, second = Connection(backlog, 30 * KIB), Connection(backlog, 20 * KIB)
    backlog.discard(first)
    assert [backlog.take_peak(), backlog.take_peak()] == [50 * KIB, 20 * KIB]
    backlog.discard(second)
    assert [backlog.take_peak(), backlog.take_peak()] == [20 * KIB, 0]

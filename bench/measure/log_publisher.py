"""A publisher that appends to logs: events with ids, by the script that nodes use."""

import socket
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import hiredis
from redis import Redis

from bench.harness import ProcessError
from bench.harness.running import Running
from bench.measure.load import Schedule, Sent, tick_payload
from sse_node.redis.event_log import PUBLISH
from sse_node.redis.keys import LOG_KEY
from sse_node.wire.sharding import shard_of

_LEAD_NS = 20_000_000  # arbitrary: from a command to the first event of its schedule
_ANSWER_TIMEOUT_S = 10.0  # arbitrary: Redis is stuck when it is silent for longer
_LOG_LENGTH = 200_000  # the default of the node's setting


class LogPublisher(Running):
    """Publishes on `user-events` of the users' shards by EVALSHA, from a thread.

    An event takes some 30 µs of CPU, so it can publish thousands of events a second.

    Args:
        places: for each shard the socket of its server, and the key of its log.
    """

    def __init__(self, places: Sequence[tuple[Path, str]]) -> None:
        self._places = places
        self._sent: Future[Sent] | None = None

    def send(self, schedule: Schedule) -> None:
        """Begin; return before the first event is due."""
        self._sent = self._thread.submit(self._publish, schedule)

    def sent(self, schedule: Schedule) -> Sent:
        """Wait until all events have been sent. Raises ProcessError."""
        assert self._sent is not None
        return self._sent.result(schedule.timeout_s)

    def _start(self, parts: ExitStack) -> None:
        self._servers = {path: parts.enter_context(_Server(path)) for path in dict(self._places)}
        self._thread = parts.enter_context(ThreadPoolExecutor(1))

    def _publish(self, schedule: Schedule) -> Sent:
        start_ns = time.monotonic_ns() + _LEAD_NS
        sent = Sent(schedule.count, first_ns=start_ns)
        shards = len(self._places)
        for i in range(schedule.count):
            due_ns = start_ns + i * schedule.interval_ns
            if (early_ns := due_ns - time.monotonic_ns()) > 0:
                time.sleep(early_ns / 1e9)
            sent.last_ns = time.monotonic_ns()
            sent.latest_ns = max(sent.latest_ns, sent.last_ns - due_ns)
            number = schedule.first + i
            path, log = self._places[shard_of(user_of(schedule, number), shards)]
            self._servers[path].send(command(schedule, number, due_ns, log.encode()))
        for server in self._servers.values():
            server.wait()
        return sent


class _Server(Running):
    """The connection to one server; lives as long as the publisher."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._answers = hiredis.Reader()
        self._waiting = 0  # commands without an answer

    def _start(self, parts: ExitStack) -> None:
        with Redis(unix_socket_path=str(self._path)) as redis:
            redis.script_load(PUBLISH.text)
        self._socket = parts.enter_context(socket.socket(socket.AF_UNIX))
        self._socket.settimeout(_ANSWER_TIMEOUT_S)
        self._socket.connect(str(self._path))

    def send(self, words: bytes) -> None:
        """Send a command, and read the answers that are there. Raises ProcessError."""
        self._socket.sendall(words)
        self._waiting += 1
        self._read_answers(socket.MSG_DONTWAIT)

    def wait(self) -> None:
        """Read all answers. Raises ProcessError."""
        while self._waiting > 0:
            self._read_answers(0)

    def _read_answers(self, flags: int) -> None:
        try:
            answered = self._socket.recv(65536, flags)
        except BlockingIOError:
            return
        if not answered:
            raise ProcessError("Redis closed the connection of the publisher")
        self._answers.feed(answered)
        while (answer := self._answers.gets()) is not False:
            if isinstance(answer, hiredis.ReplyError):
                raise ProcessError(f"Redis refused an event: {answer}")
            self._waiting -= 1


def user_of(schedule: Schedule, number: int) -> str:
    """Return the user whose turn it is."""
    return "bench" if schedule.users == 1 else f"bench-{number % schedule.users}"


def payload(schedule: Schedule, number: int, due_ns: int) -> bytes:
    """Return the payload of one event for the user whose turn it is."""
    start = f'"userId":"{user_of(schedule, number)}",'
    return tick_payload(start, number, due_ns, schedule.data_bytes)


def command(schedule: Schedule, number: int, due_ns: int, log: bytes) -> bytes:
    """Return the command that appends one event to a log and publishes it."""
    words = (
        *(b"EVALSHA", PUBLISH.sha1.encode(), b"1", log, b"%d" % _LOG_LENGTH, b"0", b"0"),
        *(b"user-events", payload(schedule, number, due_ns)),
    )
    head = b"*%d\r\n" % len(words)
    return head + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def one_log(socket_path: Path) -> list[tuple[Path, str]]:
    """Return the places of a deployment without shards."""
    return [(socket_path, LOG_KEY)]

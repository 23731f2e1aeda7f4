"""A publisher that appends to the log: events with ids, by the script that nodes use."""

import socket
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

import hiredis
from redis import Redis

from bench.harness import ProcessError
from bench.harness.running import Running
from bench.measure.load import Schedule, Sent, tick_payload
from sse_node.redis.event_log import PUBLISH

_LEAD_NS = 20_000_000  # arbitrary: from a command to the first event of its schedule
_ANSWER_TIMEOUT_S = 10.0  # arbitrary: Redis is stuck when it is silent for longer
_LOG_LENGTH = 200_000  # the default of the node's setting


class LogPublisher(Running):
    """Publishes on `user-events` by EVALSHA, from a thread.

    An event takes some 30 µs of CPU, so it can publish thousands of events a second.
    """

    def __init__(self, redis_url: str) -> None:
        """Take the address, `unix:///path`."""
        self._redis_url = redis_url
        self._sent: Future[Sent] | None = None

    def send(self, schedule: Schedule) -> None:
        """Begin; return before the first event is due."""
        self._sent = self._thread.submit(self._publish, schedule)

    def sent(self, schedule: Schedule) -> Sent:
        """Wait until all events have been sent. Raises ProcessError."""
        assert self._sent is not None
        return self._sent.result(schedule.timeout_s)

    def _start(self, parts: ExitStack) -> None:
        with Redis.from_url(self._redis_url) as redis:
            redis.script_load(PUBLISH.text)
        self._socket = parts.enter_context(socket.socket(socket.AF_UNIX))
        self._socket.settimeout(_ANSWER_TIMEOUT_S)
        self._socket.connect(self._redis_url.removeprefix("unix://"))
        self._thread = parts.enter_context(ThreadPoolExecutor(1))
        self._answers = hiredis.Reader()

    def _publish(self, schedule: Schedule) -> Sent:
        start_ns = time.monotonic_ns() + _LEAD_NS
        sent = Sent(schedule.count, first_ns=start_ns)
        answers = 0
        for i in range(schedule.count):
            due_ns = start_ns + i * schedule.interval_ns
            if (early_ns := due_ns - time.monotonic_ns()) > 0:
                time.sleep(early_ns / 1e9)
            sent.last_ns = time.monotonic_ns()
            sent.latest_ns = max(sent.latest_ns, sent.last_ns - due_ns)
            self._socket.sendall(command(schedule, schedule.first + i, due_ns))
            answers += self._read_answers(wait=False)
        while answers < schedule.count:
            answers += self._read_answers(wait=True)
        return sent

    def _read_answers(self, *, wait: bool) -> int:
        """Read the answers of Redis; return their number."""
        try:
            answered = self._socket.recv(65536, 0 if wait else socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0
        if not answered:
            raise ProcessError("Redis closed the connection of the publisher")
        self._answers.feed(answered)
        count = 0
        while (answer := self._answers.gets()) is not False:
            if isinstance(answer, hiredis.ReplyError):
                raise ProcessError(f"Redis refused an event: {answer}")
            count += 1
        return count


def user_of(schedule: Schedule, number: int) -> str:
    """Return the user whose turn it is."""
    return "bench" if schedule.users == 1 else f"bench-{number % schedule.users}"


def payload(schedule: Schedule, number: int, due_ns: int) -> bytes:
    """Return the payload of one event for the user whose turn it is."""
    start = f'"userId":"{user_of(schedule, number)}",'
    return tick_payload(start, number, due_ns, schedule.data_bytes)


def command(schedule: Schedule, number: int, due_ns: int, log: bytes = b"sse:log") -> bytes:
    """Return the command that appends one event to a log and publishes it."""
    words = (
        *(b"EVALSHA", PUBLISH.sha1.encode(), b"1", log, b"%d" % _LOG_LENGTH, b"0", b"0"),
        *(b"user-events", payload(schedule, number, due_ns)),
    )
    head = b"*%d\r\n" % len(words)
    return head + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)

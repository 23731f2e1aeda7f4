"""A publisher that appends to the logs of shards, each on the server that has it."""

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
from bench.measure.load import Schedule, Sent
from bench.measure.log_publisher import command, user_of
from sse_node.redis.event_log import PUBLISH
from sse_node.wire.sharding import shard_of

_LEAD_NS = 20_000_000  # arbitrary: from a command to the first event of its schedule
_ANSWER_TIMEOUT_S = 10.0  # arbitrary: Redis is stuck when it is silent for longer


class ShardPublisher(Running):
    """Publishes on `user-events` of the users' shards by EVALSHA, from a thread.

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
        self._servers: dict[Path, tuple[socket.socket, hiredis.Reader]] = {}
        for path, _ in self._places:
            if path in self._servers:
                continue
            with Redis(unix_socket_path=str(path)) as redis:
                redis.script_load(PUBLISH.text)
            connection = parts.enter_context(socket.socket(socket.AF_UNIX))
            connection.settimeout(_ANSWER_TIMEOUT_S)
            connection.connect(str(path))
            self._servers[path] = connection, hiredis.Reader()
        self._thread = parts.enter_context(ThreadPoolExecutor(1))

    def _publish(self, schedule: Schedule) -> Sent:
        start_ns = time.monotonic_ns() + _LEAD_NS
        sent = Sent(schedule.count, first_ns=start_ns)
        waiting = dict.fromkeys(self._servers, 0)
        for i in range(schedule.count):
            due_ns = start_ns + i * schedule.interval_ns
            if (early_ns := due_ns - time.monotonic_ns()) > 0:
                time.sleep(early_ns / 1e9)
            sent.last_ns = time.monotonic_ns()
            sent.latest_ns = max(sent.latest_ns, sent.last_ns - due_ns)
            number = schedule.first + i
            path, log = self._places[shard_of(user_of(schedule, number), len(self._places))]
            self._servers[path][0].sendall(command(schedule, number, due_ns, log.encode()))
            waiting[path] += 1 - self._read_answers(path, wait=False)
        for path in waiting:
            while waiting[path] > 0:
                waiting[path] -= self._read_answers(path, wait=True)
        return sent

    def _read_answers(self, path: Path, *, wait: bool) -> int:
        """Read the answers of a server; return their number."""
        connection, reader = self._servers[path]
        try:
            answered = connection.recv(65536, 0 if wait else socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0
        if not answered:
            raise ProcessError("Redis closed the connection of the publisher")
        reader.feed(answered)
        count = 0
        while (answer := reader.gets()) is not False:
            if isinstance(answer, hiredis.ReplyError):
                raise ProcessError(f"Redis refused an event: {answer}")
            count += 1
        return count

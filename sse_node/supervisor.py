"""The processes of a node with several workers: started, brought back, replaced, ended together.

Each worker has a place: a number, and a socket that the supervisor has bound and keeps. With TCP
the sockets share the port (SO_REUSEPORT), with a Unix socket all places share one. A worker that
ends leaves its socket behind, with the connections that wait there for whoever comes next; so
neither a crash nor a replacement refuses a connection.

One thread, no event loop: it waits for signals, for what workers say, and for moments.
"""

import contextlib
import logging
import os
import random
import selectors
import signal
import socket
import subprocess
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Final

from sse_node import __version__
from sse_node.config import Settings
from sse_node.net.backoff import Backoff
from sse_node.net.listener import remove_socket
from sse_node.place import Place, Step
from sse_node.private_redis import PrivateRedis
from sse_node.server import address_of, make_listener

_EXIT_ASKED_FOR: Final = 0
_EXIT_CANNOT_START: Final = 3
_NEVER: Final = float("inf")
# What a crashed worker's successor waits for Redis before it takes connections all the same, to
# tell them that they shall come back.
_PATIENCE_S: Final = 2.0
# For a replacement to serve; Redis may be away. Then the old worker stays.
_REPLACEMENT_TIMEOUT_S: Final = 30.0
# A worker that has lived for so long and ends is not one that cannot live. Arbitrary.
_LONG_LIFE_S: Final = 10.0
_LINE_BYTES: Final = 64

logger = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class _Worker:
    """One process, from its start to its end."""

    process: subprocess.Popen[bytes]
    line: socket.socket
    spot: "_Spot"
    started: float
    kill_at: float = _NEVER
    serves: bool = False


@dataclass(eq=False, slots=True)
class _Spot:
    """What stays of a place while workers come and go; lives as long as the node."""

    number: int
    listener: socket.socket
    backoff: Backoff = field(default_factory=Backoff)
    worker: _Worker | None = None
    """The one that takes connections."""
    successor: _Worker | None = None
    """The one that will, as soon as it serves."""
    start_at: float = _NEVER
    """When a worker is to be started."""
    has_begun: bool = False
    """Whether a worker has ever listened here."""


class Supervisor:
    """The supervisor of one node; lives as long as its process.

    Args:
        settings: of the node; `workers` of them are started.
        command: what starts a worker: the command line of this process.

    Raises:
        ConfigError: the address cannot be listened on, or there is no private Redis.
    """

    def __init__(self, settings: Settings, command: Sequence[str]) -> None:
        self._settings = settings
        self._command = command
        self._started = monotonic()
        self._selector = selectors.DefaultSelector()
        self._directory = tempfile.TemporaryDirectory(prefix="sse-node-")
        self._private = None if settings.redis_url else PrivateRedis()
        self._socket_inode = 0
        self._spots = [
            _Spot(number, listener) for number, listener in enumerate(self._listeners(), 1)
        ]
        # Equal users have equal hashes in all workers, so that they can count them together.
        self._hash_seed = str(random.randrange(1, 1 << 32))
        self._workers: set[_Worker] = set()
        self._to_replace: deque[_Spot] = deque()
        self._replaced: _Worker | None = None
        self._is_stopping = False
        self._is_announced = False
        self._exit_code = _EXIT_ASKED_FOR
        self._crashes = 0

    def _listeners(self) -> Iterator[socket.socket]:
        settings = self._settings
        first = make_listener(settings)
        if settings.uds:
            self._socket_inode = Path(settings.uds).stat().st_ino
            yield from [first] * settings.workers
            return
        # The first was bound alone: it has made sure that nobody else has the port.
        port = first.getsockname()[1]
        first.close()
        for _ in range(settings.workers):
            yield make_listener(settings, port=port, shares_port=True)

    def run(self) -> int:
        """Run the node until it is asked to stop; return the exit code.

        Raises:
            RedisError: the private Redis does not start.
        """
        with contextlib.ExitStack() as on_exit:
            on_exit.callback(self._clean_up)
            on_exit.enter_context(self._signals())
            if self._private is not None:
                self._private.start()
                self._selector.register(self._private, selectors.EVENT_READ, self._on_private_log)
            for spot in self._spots:
                spot.worker = self._start(spot)
            while self._workers or not self._is_stopping:
                for key, _ in self._selector.select(self._time_left()):
                    key.data()
                self._on_time(monotonic())
        return self._exit_code

    def _clean_up(self) -> None:
        for worker in self._workers:  # there are some only when this process fails
            worker.process.kill()
            worker.process.wait()
        self._close_listeners()
        if self._settings.uds:
            remove_socket(self._settings.uds, self._socket_inode)
        if self._private is not None:
            self._private.shutdown()
        self._directory.cleanup()
        self._selector.close()
        logger.info("stopped")

    def _close_listeners(self) -> None:
        for spot in self._spots:
            spot.listener.close()

    def _on_private_log(self) -> None:
        assert self._private is not None
        if not self._private.read_log():
            self._selector.unregister(self._private)

    # Signals

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Have signals wake the selector, which then handles them, inside the block."""
        wakeup, number_writer = socket.socketpair()
        with wakeup, number_writer:
            wakeup.setblocking(False)
            number_writer.setblocking(False)
            before = signal.set_wakeup_fd(number_writer.fileno())
            numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
            handlers = {number: signal.signal(number, _wake) for number in numbers}
            self._selector.register(
                wakeup, selectors.EVENT_READ, lambda: self._on_signals(wakeup.recv(_LINE_BYTES))
            )
            try:
                yield
            finally:
                self._selector.unregister(wakeup)
                for number, handler in handlers.items():
                    signal.signal(number, handler)
                signal.set_wakeup_fd(before)

    def _on_signals(self, numbers: bytes) -> None:
        for number in map(signal.Signals, numbers):
            self._on_signal(number)

    def _on_signal(self, number: signal.Signals) -> None:
        if number is signal.SIGHUP:
            self._replace_all()
        elif self._is_stopping:
            logger.warning("a second %s: ending now", number.name)
            for worker in self._workers:
                worker.process.kill()
        else:
            logger.info("%s: stopping", number.name)
            self._stop(number)

    def _stop(self, number: signal.Signals) -> None:
        """Have every worker drain; who was replaced is doing so already."""
        self._is_stopping = True
        self._to_replace.clear()
        self._close_listeners()  # each worker closes its own when the balancer has had its time
        kill_at = monotonic() + self._settings.timeout_graceful_shutdown
        for worker in self._workers:
            if worker is not self._replaced:
                worker.process.send_signal(number)
            worker.kill_at = min(worker.kill_at, kill_at)

    # Starting

    def _start(self, spot: _Spot, patience_s: float = 0.0) -> _Worker:
        line, workers_end = socket.socketpair()
        place = Place(
            number=spot.number,
            listener=spot.listener.fileno(),
            line=workers_end.fileno(),
            directory=self._directory.name,
            redis_url=self._private.url if self._private else "",
            started=self._started,
            patience_s=patience_s,
            crashes=self._crashes,
        )
        environment = {
            **os.environ,
            "PYTHONHASHSEED": self._hash_seed,
            "SSE_NODE_SERVER_ID": self._settings.server_id,  # by default it has the process' id
        }
        place.enter(environment)
        with workers_end:
            process = subprocess.Popen(
                self._command,
                env=environment,
                pass_fds=(place.listener, place.line),
                process_group=0,  # a Ctrl-C in the terminal is the supervisor's to handle
            )
        worker = _Worker(process, line, spot, monotonic())
        self._workers.add(worker)
        self._selector.register(line, selectors.EVENT_READ, lambda: self._on_line(worker))
        spot.start_at = _NEVER
        return worker

    def _on_line(self, worker: _Worker) -> None:
        try:
            said = worker.line.recv(_LINE_BYTES)
        except ConnectionError:
            said = b""
        for step in said:
            self._on_step(worker, Step(bytes([step])))
        if not said:
            self._on_end(worker)

    def _on_step(self, worker: _Worker, step: Step) -> None:
        spot = worker.spot
        if step is Step.LISTENS:
            spot.has_begun = True
            self._announce()
        elif step is Step.SERVES:
            worker.serves = True
            if worker is spot.successor:
                self._succeed(worker)
        elif worker is spot.worker:  # somebody asked it alone to stop
            self._vacate(worker, "takes no more connections")

    def _announce(self) -> None:
        """Say once that the node is there: when all its workers are."""
        if self._is_announced or not all(spot.has_begun for spot in self._spots):
            return
        self._is_announced = True
        logger.info(
            "sse-node %s, %d workers, at most %d streams each",
            __version__,
            len(self._spots),
            self._settings.max_streams,
        )
        logger.info("listening on %s", address_of(self._spots[0].listener))

    def _start_soon(self, spot: _Spot, delay_s: float) -> None:
        if spot.successor is not None:  # there is one on its way
            spot.worker, spot.successor = spot.successor, None
            spot.worker.kill_at = _NEVER
        else:
            spot.start_at = monotonic() + delay_s

    # Ending

    def _on_end(self, worker: _Worker) -> None:
        """Take note of a process that has ended: its end of the line has."""
        self._selector.unregister(worker.line)
        worker.line.close()
        status = worker.process.wait()
        self._workers.remove(worker)
        with contextlib.suppress(FileNotFoundError):
            Path(self._directory.name, f"{worker.process.pid}.sock").unlink()
        spot = worker.spot
        if worker is self._replaced:
            self._replaced = None
            self._replace_next()
        elif worker is spot.successor:
            spot.successor = None
            self._give_up_replacing(f"its replacement ended {_how(status)} before it served")
        elif worker is spot.worker:
            self._crashes += not self._is_stopping
            self._vacate(worker, f"ended {_how(status)}")

    def _vacate(self, worker: _Worker, why: str) -> None:
        """Bring a worker back; one that the node cannot start with ends the node."""
        spot, pid = worker.spot, worker.process.pid
        spot.worker = None
        if self._is_stopping:
            return
        if not self._is_announced:
            logger.error("worker %d (%d) cannot start: it %s", spot.number, pid, why)
            self._exit_code = _EXIT_CANNOT_START
            self._stop(signal.SIGINT)
            return
        if monotonic() - worker.started > _LONG_LIFE_S:
            spot.backoff.reset()
        delay_s = spot.backoff.next_s()
        logger.warning("worker %d (%d) %s; another in %.1f s", spot.number, pid, why, delay_s)
        self._start_soon(spot, delay_s)

    # Replacing

    def _replace_all(self) -> None:
        if not self._is_stopping:
            logger.info("SIGHUP: replacing %d workers, one by one", len(self._spots))
            is_under_way = bool(self._to_replace) or self._replaced is not None
            self._to_replace = deque(self._spots)
            if not is_under_way and not any(spot.successor for spot in self._spots):
                self._replace_next()

    def _replace_next(self) -> None:
        """Start the successor of the next worker; when it serves, the worker drains."""
        if self._is_stopping or not self._to_replace:
            return
        spot = self._to_replace.popleft()
        spot.successor = self._start(spot, patience_s=_REPLACEMENT_TIMEOUT_S)
        spot.successor.kill_at = monotonic() + _REPLACEMENT_TIMEOUT_S

    def _succeed(self, successor: _Worker) -> None:
        spot = successor.spot
        replaced, spot.worker, spot.successor = spot.worker, successor, None
        successor.kill_at = _NEVER
        logger.info("worker %d: process %d serves", spot.number, successor.process.pid)
        if replaced is None:
            self._replace_next()
            return
        self._replaced = replaced
        replaced.process.send_signal(signal.SIGHUP)
        replaced.kill_at = monotonic() + self._settings.timeout_graceful_shutdown

    def _give_up_replacing(self, why: str) -> None:
        if not self._is_stopping:
            logger.error("the workers that are left stay: %s", why)
            self._to_replace.clear()

    # Moments

    def _time_left(self) -> float | None:
        moments = [spot.start_at for spot in self._spots]
        moments += [worker.kill_at for worker in self._workers]
        first = min(moments)
        return None if first == _NEVER else max(0.0, first - monotonic())

    def _on_time(self, now: float) -> None:
        for worker in [worker for worker in self._workers if worker.kill_at <= now]:
            logger.warning("process %d is out of time", worker.process.pid)
            worker.kill_at = _NEVER
            worker.process.kill()
        if self._is_stopping:
            return
        for spot in [spot for spot in self._spots if spot.start_at <= now]:
            spot.worker = self._start(spot, _PATIENCE_S)


def _wake(number: int, frame: object) -> None:
    """Do nothing: the number has been written to the socket that wakes the selector."""


def _how(status: int) -> str:
    if status < 0:
        return f"by {signal.Signals(-status).name}"
    return f"with exit code {status}"

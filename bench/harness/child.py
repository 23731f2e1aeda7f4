"""One process, from its start to its end."""

import ctypes
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Self

# A shell that runs tests in the background has SIGINT ignored; what is started here must not
# inherit that, because a node leaves a signal ignored that was ignored when it was started.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[2]
"""The project's folder: `python -m sse_node` is run from here."""

_POLL_INTERVAL_S = 0.005  # arbitrary: what another process does can only be asked, not awaited
_STOP_TIMEOUT_S = 10.0  # arbitrary: then it is killed
_LOG_LINES_SHOWN = 20  # arbitrary: lines of a process's log in an error
_PR_SET_PDEATHSIG = 1  # prctl(2)
_libc = ctypes.CDLL(None, use_errno=True)


class ProcessError(Exception):
    """A process did not start, did not answer in time, or ended when it should not have."""


class ChildProcess:
    """One operating-system process and the private directory it works in.

    Lives from its `with` statement to the end of it; in between it may be killed and started
    again any number of times. Subclasses give the command and say when the process is up.
    """

    name = "process"
    stop_signal = signal.SIGTERM
    """What `stop` asks it with to end."""
    death_signal = signal.SIGKILL
    """What the process gets when the thread that started it ends."""

    def __init__(self, *, env: Mapping[str, str] | None = None, cpu: int | None = None) -> None:
        """Take the settings; nothing runs before `start`.

        `env` replaces the environment as a whole; `cpu` is the one core the process may use.
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

    def __exit__(self, *exc_info: object) -> None:
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
        """A directory of this process alone; made on first use, removed by `close`."""
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
        """Run `command`; what is given no place for its output writes to the log file."""
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


def _tie_to_parent(death_signal: signal.Signals, cpu: int | None) -> Callable[[], None]:
    parent = os.getpid()

    def run_in_child() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
        if os.getppid() != parent:  # it ended before the line above
            os._exit(1)
        if cpu is not None:
            os.sched_setaffinity(0, {cpu})

    return run_in_child

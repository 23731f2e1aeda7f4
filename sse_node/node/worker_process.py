"""A worker's process as its supervisor sees it, and the slot it fills."""

import contextlib
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Final

from sse_node.node.control import ControlChannel, WorkerConfig, WorkerState
from sse_node.redis.backoff import Backoff

NEVER: Final = float("inf")


@dataclass(eq=False, slots=True)
class Slot:
    """What stays while workers come and go; lives as long as the node.

    Attributes:
        number: of its workers.
        listener: the socket they accept connections from.
        backoff: from a crash to the next start.
        worker: the one that is to accept connections; None until it is restarted.
        start_at: when a worker is to be started; at once at first.
        has_listened: whether a worker has ever accepted connections here.
    """

    number: int
    listener: socket.socket
    backoff: Backoff = field(default_factory=Backoff)
    worker: "WorkerProcess | None" = None
    start_at: float = 0.0
    has_listened: bool = False


@dataclass(eq=False, slots=True)
class WorkerProcess:
    """One process, from its start to its end.

    Attributes:
        process: of the worker.
        control: the supervisor's end of the control channel.
        slot: where it belongs.
        started: when, in seconds of the monotonic clock.
        deadline: when it is killed, if it has not reached its next state by then.
        state: where it is in its life.
        silence: looks since its last sign of life; None before the first one.
    """

    process: subprocess.Popen[bytes]
    control: ControlChannel
    slot: Slot
    started: float
    deadline: float
    state: WorkerState = WorkerState.STARTING
    silence: int | None = None

    @property
    def name(self) -> str:
        """What logs call it."""
        return f"worker {self.slot.number} (pid {self.process.pid})"

    def kill(self) -> None:
        """End it now; its channel closes."""
        self.deadline = NEVER
        self.silence = None
        self.process.kill()


def start_worker(
    command: Sequence[str],
    environment: Mapping[str, str],
    slot: Slot,
    config: WorkerConfig,
    timeout_s: float,
) -> WorkerProcess:
    """Start a worker's process.

    Args:
        command: the command line of this node.
        environment: of the process.
        slot: of the worker.
        config: of the worker; the listener and the control channel are filled in.
        timeout_s: when it is killed unless something moves the deadline.

    Raises:
        OSError: the kernel has no socket or process left.
    """
    ours, theirs = ControlChannel.pair()
    try:
        with contextlib.closing(theirs):
            descriptors = replace(
                config.descriptors, listener=slot.listener.fileno(), control=theirs.fileno()
            )
            config = replace(config, descriptors=descriptors)
            environment = dict(environment)
            config.put_into(environment)
            process = subprocess.Popen(
                command,
                env=environment,
                pass_fds=tuple(descriptors),
                process_group=0,  # a Ctrl-C in the terminal is the supervisor's to handle
            )
    except OSError:
        ours.close()
        raise
    now = monotonic()
    return WorkerProcess(process, ours, slot, now, deadline=now + timeout_s)


def describe_exit(status: int) -> str:
    """Return how a process ended, from the value of `Popen.wait`."""
    if status >= 0:
        return f"with exit code {status}"
    name = signal.strsignal(-status) or "a signal"  # not every number has a constant
    return f"by signal {-status} ({name})"

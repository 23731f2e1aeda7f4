"""What a supervisor gives its workers, and the messages between them.

The supervisor starts a worker with its own command line, and a WorkerConfig in one environment
variable. They share a pair of Unix sockets, the control channel. A message is one word; it arrives
whole (SOCK_SEQPACKET) and may carry descriptors. Each end of the channel closes with its process,
however that ends.

A SIGHUP may start workers of a newer version than their supervisor: unknown words and members are
ignored.
"""

import contextlib
import os
import socket
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final

import msgspec

_VARIABLE: Final = "SSE_NODE_WORKER_CONFIG"
_MAX_MESSAGES: Final = 64  # read at once
_MAX_MESSAGE_BYTES: Final = 256
# macOS has no SOCK_SEQPACKET for Unix sockets; words end with a line feed, so a stream does too.
_KIND: Final = getattr(socket, "SOCK_SEQPACKET", socket.SOCK_STREAM)
LIFE_SIGN_S: Final = 1.0

ALIVE: Final = "alive"
"""The worker's event loop runs; sent every `LIFE_SIGN_S` from the start of the loop."""
CRASH: Final = "crash"
"""To workers: another worker of the node has crashed."""


class WorkerState(IntEnum):
    """The life of a worker; it only moves forward. A worker sends the name of a state it enters."""

    STARTING = 0
    LISTENING = 1
    """It accepts connections."""
    SERVING = 2
    """It has caught up with Redis, and Redis takes its writes."""
    DRAINING = 3
    """It was asked to stop."""
    GONE = 4
    """Its process has ended."""


class ControlChannel:
    """One end of the control channel; lives as long as the worker's process.

    Args:
        end: of the socket pair; closed with the channel.
    """

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._unread = b""

    @classmethod
    def pair(cls) -> "tuple[ControlChannel, ControlChannel]":
        """Return the supervisor's end and the worker's.

        Raises:
            OSError: the kernel has no sockets left.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, _KIND)
        return cls(ours), cls(theirs)

    @classmethod
    def from_descriptor(cls, descriptor: int) -> "ControlChannel":
        """Return the end that was inherited as `descriptor`; sending never blocks."""
        end = socket.socket(fileno=descriptor)
        end.setblocking(False)
        return cls(end)

    def fileno(self) -> int:
        """Return the descriptor, for selectors and event loops."""
        return self._socket.fileno()

    def send(self, word: str) -> None:
        """Send a message; it is dropped if the other end is closed or its buffer is full."""
        with contextlib.suppress(OSError):
            self._socket.send(word.encode() + b"\n", socket.MSG_DONTWAIT)

    def receive(self) -> list[str]:
        """Return the messages that have arrived, at most 64; the channel has become readable.

        Raises:
            EOFError: the other end is closed.
        """
        words: list[str] = []
        for _ in range(_MAX_MESSAGES):
            try:
                data = self._socket.recv(_MAX_MESSAGE_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                if words:  # they are handled first; the next call finds the end again
                    break
                raise EOFError
            *lines, self._unread = (self._unread + data).split(b"\n")
            words += [line.decode("ascii", "replace") for line in lines]
        return words

    def close(self) -> None:
        """Close this end."""
        self._socket.close()


@dataclass(frozen=True, slots=True)
class Descriptors:
    """The file descriptors that a worker inherits; -1 for one that there is not.

    Attributes:
        listener: of the socket to accept connections from.
        control: of its end of the control channel.
        admin: of the socket to accept operators' connections from; all workers share it.
    """

    listener: int = -1
    control: int = -1
    admin: int = -1

    def __iter__(self) -> Iterator[int]:
        return (each for each in (self.listener, self.control, self.admin) if each >= 0)


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """What a worker is given at its start.

    Attributes:
        number: of the worker, from 1; a replacement has the number of the one it replaces.
        descriptors: that it inherits.
        directory: where the workers of the node have the sockets on which they query each other.
        redis_url: where Redis is, when that is the supervisor's private one; else empty.
        started: when the node was started, in seconds of the machine's monotonic clock.
        redis_wait_s: how long to wait for Redis before accepting connections anyway.
        crashes: workers of the node that crashed before this one was started.
    """

    number: int
    descriptors: Descriptors
    directory: str
    redis_url: str
    started: float
    redis_wait_s: float
    crashes: int

    def put_into(self, environment: MutableMapping[str, str]) -> None:
        """Put the configuration into the environment of the worker's process."""
        environment[_VARIABLE] = msgspec.json.encode(self).decode()

    @property
    def socket_path(self) -> Path:
        """Where this process answers the queries of its peers."""
        return Path(self.directory, f"{os.getpid()}.sock")

    def remove_directory(self) -> None:
        """Remove the directory if it is empty, as the supervisor would have."""
        with contextlib.suppress(OSError):
            Path(self.directory).rmdir()


def take_worker_config(environment: MutableMapping[str, str]) -> WorkerConfig | None:
    """Remove a worker's configuration from its environment; None for a node of one process."""
    text = environment.pop(_VARIABLE, "")
    return msgspec.json.decode(text, type=WorkerConfig) if text else None


def process_name(server_id: str, config: WorkerConfig | None) -> str:
    """Return the name of a process in Redis and in logs: the node's id, and the worker's number."""
    return server_id if config is None else f"{server_id}.{config.number}"

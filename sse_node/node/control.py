"""A worker's place in a node of several: what its supervisor gives it, and what it says back.

The supervisor starts a worker with the command line it was started with itself, and the place in
one environment variable. They share a socket, the *line*: a worker writes one byte for each step
of its life, and its end of the line closes with its process, however that ends; so does the
supervisor's. The supervisor writes one byte for each worker that ends unasked.

A SIGHUP may bring in workers of a newer version than their supervisor: what one does not know of
the other's it leaves out.
"""

import contextlib
import os
from collections.abc import MutableMapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

import msgspec

_VARIABLE: Final = "SSE_NODE_WORKER_PLACE"
_LINE_BYTES: Final = 64
LIFE_SIGN_S: Final = 1.0


class Step(Enum):
    """What a worker says on the line."""

    LISTENS = b"L"
    """It takes connections."""
    SERVES = b"S"
    """It has caught up with Redis, and Redis takes its writes."""
    LEAVES = b"E"
    """It has been asked to stop: it drains, and needs no further asking."""
    LIVES = b"A"
    """Its event loop goes round; said every `LIFE_SIGN_S` from the start of the loop."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a worker is given.

    Attributes:
        number: of the worker, from 1; a replacement has the number of the one it replaces.
        listener: file descriptor of the socket to accept connections from.
        line: file descriptor of its end of the line.
        directory: where the workers of the node ask each other for their figures.
        redis_url: where Redis is, when that is the supervisor's private one; else empty.
        started: when the node was started, in seconds of the monotonic clock of the machine.
        patience_s: how long to wait for Redis before connections are taken all the same.
        crashes: workers of the node that have ended unasked before this one was started.
    """

    number: int
    listener: int
    line: int
    directory: str
    redis_url: str
    started: float
    patience_s: float
    crashes: int

    def enter(self, environment: MutableMapping[str, str]) -> None:
        """Put the place into the environment of the worker's process."""
        environment[_VARIABLE] = msgspec.json.encode(self).decode()

    @property
    def socket_path(self) -> Path:
        """Where this process answers for its figures."""
        return Path(self.directory, f"{os.getpid()}.sock")

    def say(self, step: Step) -> None:
        """Tell the supervisor; one that is gone, or does not listen for long, hears nothing."""
        try:
            os.write(self.line, step.value)
        except OSError:
            return

    def hear(self) -> int:
        """Read the line, which has become readable; return how many workers have ended unasked.

        Raises:
            EOFError: the supervisor is gone.
        """
        try:
            crashes = len(os.read(self.line, _LINE_BYTES))
        except BlockingIOError:
            return 0
        except OSError:
            crashes = 0
        if not crashes:
            raise EOFError
        return crashes

    def remove_directory(self) -> None:
        """Remove what the supervisor would have; of its workers the last one can."""
        with contextlib.suppress(OSError):
            Path(self.directory).rmdir()


def take_place(environment: MutableMapping[str, str]) -> Place | None:
    """Take the place of this process out of its environment; None for one that is no worker."""
    text = environment.pop(_VARIABLE, "")
    if not text:
        return None
    place = msgspec.json.decode(text, type=Place)
    os.set_blocking(place.line, False)  # a supervisor that does not listen must not stop a worker
    return place


def worker_name(server_id: str, place: Place | None) -> str:
    """Return how a process goes by in Redis and in the log: its node's id, and its number there."""
    return server_id if place is None else f"{server_id}.{place.number}"

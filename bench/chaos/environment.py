"""The processes of a run: Redis, two nodes, and nginx in front of them.

The first node uses unix sockets for its listener and for Redis. The second one uses TCP for both,
reaches Redis through a link that can be cut, and has two workers. A symbolic link points to the
socket of the present Redis master.
"""

import os
import shutil
import struct
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import redis

from bench.chaos.clients import Address
from bench.chaos.workload import Traffic
from bench.harness import (
    DURABLE,
    ROOT,
    NginxProcess,
    NodeProcess,
    RedisProcess,
)
from bench.harness.c_program import compiled
from bench.harness.running import Running
from bench.harness.waiting import wait_until
from sse_node.redis.event_log import PUBLISH

LOG_KEY = "sse:log"
# The neighbour: another deployment on the same Redis, with users of the same names.
NEIGHBOUR_NAMESPACE, NEIGHBOUR_DATABASE = "blue", 3
NEIGHBOUR_LOG_KEY = f"{NEIGHBOUR_NAMESPACE}:db{NEIGHBOUR_DATABASE}:{LOG_KEY}"

_CLOCK_OFFSET = struct.Struct("=q")

# Clients reconnect sooner than by default, so that a run has time for many faults.
_NODE_FLAGS = ("--retry", "500")
_WORKERS = 2
_READY_TIMEOUT_S = 20.0  # arbitrary


class Clock:
    """The clock of the Redis servers, which can be moved; lives as long as the run. Linux only."""

    def __init__(self, directory: Path) -> None:
        """Compile the preloaded library. Raises ProcessError without a compiler."""
        self._library = compiled("clock.c", "-shared", "-fPIC")
        self._offset_file = directory / "clock"
        self._offset_file.write_bytes(_CLOCK_OFFSET.pack(0))

    def environment(self) -> dict[str, str]:
        """Return the environment of a process that uses this clock."""
        own = {"LD_PRELOAD": str(self._library), "CHAOS_CLOCK": str(self._offset_file)}
        return os.environ | own

    def set(self, ahead_s: int) -> None:
        """Set the clock `ahead_s` ahead of the right time."""
        with self._offset_file.open("r+b", buffering=0) as file:
            file.write(_CLOCK_OFFSET.pack(ahead_s))


class _Redis(RedisProcess):
    """A Redis that stores what it acknowledges, with a clock that may move."""

    def __init__(self, clock: Clock | None) -> None:
        env = clock.environment() if clock is not None else None
        super().__init__(args=DURABLE, tcp=True, env=env)


class Stage(Running):
    """All processes of a run; lives as long as its `with` block."""

    def __init__(
        self,
        traffic: Traffic,
        neighbour_traffic: Traffic,
        launcher: Sequence[str],
        clock: Clock | None,
    ) -> None:
        """Take the loads, the command of a node, and the clock of Redis if it moves."""
        self.traffic = traffic
        self.neighbour_traffic = neighbour_traffic
        self.clock = clock
        self.problems: list[str] = []
        self.nodes: list[NodeProcess] = []
        self._launcher = tuple(launcher)
        self._redis: RedisProcess | None = None
        self._retired: RedisProcess | None = None

    def _start(self, parts: ExitStack) -> None:
        self._start_first_redis(parts)
        directory = self._parts.enter_context(tempfile.TemporaryDirectory(prefix="chaos-"))
        Path(directory).chmod(0o755)  # nginx's workers may be of another user
        unix = ("--uds", f"{directory}/node.sock")
        self._start_node("node-1", self._url_by_socket(), *unix)
        workers = ("--workers", f"{_WORKERS}")
        self._start_node("node-2", self._url(self.traffic), *workers)
        self.neighbour = self._node(
            "neighbour",
            self._url(self.neighbour_traffic, NEIGHBOUR_DATABASE),
            *("--namespace", NEIGHBOUR_NAMESPACE),
        )
        addresses = [node.address for node in self.nodes]
        self.nginx = self._parts.enter_context(NginxProcess(ROOT / "nginx.conf", addresses))

    def _start_first_redis(self, parts: ExitStack) -> None:
        self.promote(self.start_redis())

    def _url(self, traffic: Traffic, database: int = 0) -> str:
        return f"redis://127.0.0.1:{traffic.link.port}/{database}"

    def _url_by_socket(self) -> str:
        return f"unix://{self.redis_socket}"

    def _start_node(self, server_id: str, redis_url: str, *flags: str) -> None:
        self.nodes.append(self._node(server_id, redis_url, *flags))

    def _node(self, server_id: str, redis_url: str, *flags: str) -> NodeProcess:
        access = self.traffic.access
        flags = (*_NODE_FLAGS, *flags, *(access.flags if access is not None else ()))
        node = NodeProcess("--server-id", server_id, "--redis-url", redis_url, *flags)
        node.command = self._launcher
        node.key = access.key if access is not None else ""
        self._parts.enter_context(node)
        node.wait_ready(_READY_TIMEOUT_S)
        return node

    # Redis

    @property
    def redis(self) -> RedisProcess:
        """The present master."""
        assert self._redis is not None
        return self._redis

    @property
    def users(self) -> int:
        """The number of users, `user-0` and on."""
        return len({watcher.journal.user for watcher in self.traffic.watchers.all})

    @property
    def redis_socket(self) -> Path:
        """The socket of the present Redis master."""
        return self.traffic.link.upstream

    def start_redis(self) -> RedisProcess:
        """Start another Redis."""
        return self._parts.enter_context(_Redis(self.clock))

    def promote(self, process: RedisProcess) -> None:
        """Make this Redis the master for all new connections."""
        self._redis = process
        new = self.redis_socket.with_suffix(".new")
        new.symlink_to(process.socket_path)
        new.replace(self.redis_socket)

    def retire(self, process: RedisProcess) -> None:
        """Keep a former master running until the next one is retired."""
        if self._retired is not None:
            self._retired.close()
        self._retired = process

    def forget_files_of_redis(self) -> None:
        """Remove the files of the stopped Redis."""
        shutil.rmtree(self.redis.directory / "appendonlydir")

    def ask_redis(self, *command: str | int | bytes, process: RedisProcess | None = None) -> Any:  # noqa: ANN401
        """Run one command, on the master by default."""
        path = str((process or self.redis).socket_path)
        with redis.Redis(unix_socket_path=path, socket_timeout=10) as client:
            return client.execute_command(*command)

    def events_held(self, log: str = LOG_KEY, database: int = 0) -> set[tuple[str, int]]:
        """Return user and number of every event of this benchmark in an event log."""
        path = str(self.redis.socket_path)
        with redis.Redis(unix_socket_path=path, db=database, socket_timeout=30) as client:
            return events_of(client, log)

    def neighbour_log_name(self) -> str:
        """Return the random name of the neighbour's event log."""
        path = str(self.redis.socket_path)
        with redis.Redis(unix_socket_path=path, db=NEIGHBOUR_DATABASE) as client:
            groups: Any = client.xinfo_groups(NEIGHBOUR_LOG_KEY)
        return str(groups[0]["name"].decode())

    def publish_by_script(self, log: str, payload: dict[str, Any]) -> None:
        """Publish an event by the nodes' script, to another event log than theirs."""
        event = {name: value for name, value in payload.items() if name not in {"id", "log"}}
        content = msgspec.json.encode(event)
        self.ask_redis("EVAL", PUBLISH.text, 1, log, "1000", 0, 0, "user-events", content)

    # Nodes

    def restart_node(self, number: int) -> None:
        """Start a node that has ended, and wait until it is ready."""
        self.nodes[number].start()
        self.nodes[number].wait_ready(_READY_TIMEOUT_S)

    @property
    def node_of_workers(self) -> NodeProcess:
        """The node with several workers."""
        return self.nodes[-1]

    def wait_for_new_workers(self, before: set[int], old: int, timeout_s: float = 30.0) -> None:
        """Wait until all workers run and exactly `old` of the previous ones are left."""

        def are_there() -> bool:
            pids = self.node_of_workers.worker_pids()
            return len(pids) == _WORKERS and len(pids & before) == old

        wait_until(are_there, f"{_WORKERS - old} new workers", timeout_s)

    def address_of(self, number: int) -> Address:
        """Return the address of a node for clients."""
        node = self.nodes[number]
        if node.address.startswith("unix:"):
            return node.address.removeprefix("unix:")
        return node.host, node.port

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples with these labels over all nodes."""
        return sum(node.metric(name, **labels) for node in self.nodes)

    # Waiting

    def wait_acknowledged(self, count: int, timeout_s: float = 30.0) -> None:
        """Wait until `count` more events are acknowledged. Raises ProcessError."""
        goal = self.traffic.acknowledged() + count
        wait_until(
            lambda: self.traffic.acknowledged() >= goal, f"{count} acknowledged events", timeout_s
        )

    # Logs of the nodes

    def complaints(self) -> Iterator[str]:
        """Return the last line of every traceback in the nodes' logs."""
        for node in (*self.nodes, self.neighbour):
            is_traceback = False
            for line in node.log:
                if is_traceback and not line.startswith(" "):
                    yield f"a node logged a traceback: {line}"
                    is_traceback = False
                is_traceback = is_traceback or line.startswith("Traceback")


def events_of(client: redis.Redis, log: str) -> set[tuple[str, int]]:
    """Return user and number of every event of this benchmark in one event log."""
    entries: Any = client.xrange(log)
    return set(_events([fields.get(b"payload", b"{}") for _, fields in entries]))


class _Data(msgspec.Struct):
    number: int


class _Event(msgspec.Struct, rename="camel"):
    user_id: str = ""
    event_type: str = ""
    data: msgspec.Raw = msgspec.Raw(b"")


def _events(payloads: Sequence[bytes]) -> Iterator[tuple[str, int]]:
    decode = msgspec.json.Decoder(_Event).decode
    for payload in payloads:
        event = decode(payload)
        if event.event_type == "chaos":
            yield event.user_id, msgspec.json.decode(event.data, type=_Data).number

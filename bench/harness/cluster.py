"""A Redis Cluster: three masters, each with a replica or alone."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from redis import Redis
from redis.crc import key_slot
from redis.exceptions import RedisError as LibraryError

from bench.harness.addresses import free_port
from bench.harness.child import ProcessError
from bench.harness.cluster_bus import ClusterBus, source_of
from bench.harness.redis import RedisProcess
from bench.harness.running import Running
from bench.harness.waiting import wait_until

SLOTS: Final = 16384
NODE_TIMEOUT_S: Final = 1.0
"""How long a server does not answer before the others take it for dead."""
_MASTERS: Final = 3


class Cluster(Running):
    """Masters with equal ranges of slots, and their replicas; lives as long as its `with` block.

    Args:
        binary: of the servers.
        shards: how many shards nodes have on it.
        replicas: of each master, 0 or 1.
        args: further arguments of the servers.
        password: of their default user; empty for none.
        has_bus: whether servers may be cut off the others, by `cut_off`.
    """

    def __init__(
        self,
        binary: str | Path = "redis-server",
        *,
        shards: int = 16,
        replicas: int = 1,
        args: Sequence[str] = (),
        password: str = "",
        has_bus: bool = False,
    ) -> None:
        self._binary = binary
        self.shards = shards
        self._replicas = replicas
        self._args = args
        self._password = password
        count = _MASTERS * (1 + replicas)
        self._bus = ClusterBus(count) if has_bus else None
        self._bus_ports = self._bus.announced if self._bus else [free_port() for _ in range(count)]
        self.servers: list[RedisProcess] = []
        self._absent: list[RedisProcess] = []

    def _start(self, parts: ExitStack) -> None:
        if self._bus is not None:
            parts.enter_context(self._bus)
        for number in range(len(self._bus_ports)):
            self.servers.append(parts.enter_context(self._server(number)))
        for number, server in enumerate(self.servers, 1):
            self.ask(server, "CLUSTER", "SET-CONFIG-EPOCH", number)
        masters = self.servers[:_MASTERS]
        for number, server in enumerate(masters):
            first, end = (round(SLOTS * each / _MASTERS) for each in (number, number + 1))
            self.ask(server, "CLUSTER", "ADDSLOTSRANGE", first, end - 1)
        for server, bus_port in zip(self.servers[1:], self._bus_ports[1:], strict=True):
            place = ("127.0.0.1", server.port, bus_port)
            self.ask(self.servers[0], "CLUSTER", "MEET", *place)
        wait_until(self._all_know_all, "servers that know each other")
        for master, replica in zip(masters, self.servers[_MASTERS:], strict=False):
            self.ask(replica, "CLUSTER", "REPLICATE", self.id_of(master))
        self.wait_complete()

    def _server(self, number: int) -> RedisProcess:
        args = [
            *("--cluster-enabled", "yes"),
            *("--cluster-node-timeout", str(int(NODE_TIMEOUT_S * 1000))),
            *("--cluster-announce-ip", "127.0.0.1", "--cluster-require-full-coverage", "no"),
            *("--repl-diskless-sync-delay", "0", *self._args),
        ]
        # By default the port of the bus is 10,000 higher, which there may not be.
        if self._bus is None:
            args += ["--cluster-port", str(self._bus_ports[number])]
        else:
            args += ["--cluster-port", str(self._bus.actual[number])]
            args += ["--cluster-announce-bus-port", str(self._bus_ports[number])]
            # Protected mode lets 127.0.0.1 in, not all of loopback.
            args += ["--bind-source-addr", source_of(number), "--protected-mode", "no"]
        if self._password:
            args += ["--requirepass", self._password, "--masterauth", self._password]
        return RedisProcess(self._binary, args, tcp=True)

    def _all_know_all(self) -> bool:
        return all(len(self._nodes(server)) == len(self.servers) for server in self.servers)

    @property
    def url(self) -> str:
        """The address for `--redis-url`."""
        user = f":{self._password}@" if self._password else ""
        places = ",".join(f"127.0.0.1:{server.port}" for server in self.servers)
        return f"redis+cluster://{user}{places}"

    @property
    def nodes_url(self) -> str:
        """The same, as a single Redis has it."""
        return self.url

    # Asking

    def ask(self, server: RedisProcess, *command: str | int | bytes) -> Any:  # noqa: ANN401
        """Run one command on a server. Raises OSError or redis-py's errors."""
        path = str(server.socket_path)
        password = self._password or None
        with Redis(
            unix_socket_path=path, password=password, socket_timeout=5, protocol=2
        ) as client:
            answer: Any = client.connection_pool.get_connection()
            try:
                answer.send_command(*command)
                return answer.read_response()
            finally:
                client.connection_pool.release(answer)

    def _nodes(self, server: RedisProcess) -> list[list[str]]:
        """Return the fields of each server that a server knows."""
        text: bytes = self.ask(server, "CLUSTER", "NODES")
        return [line.split() for line in text.decode().splitlines()]

    def id_of(self, server: RedisProcess) -> str:
        """Return the id of a server."""
        found: bytes = self.ask(server, "CLUSTER", "MYID")
        return found.decode()

    @property
    def running(self) -> list[RedisProcess]:
        """The servers that run, and are neither stopped nor cut off."""
        return [each for each in self.servers if each.running and each not in self._absent]

    def suspend(self, server: RedisProcess) -> None:
        """Stop a server (SIGSTOP); it is not asked any more."""
        self._absent.append(server)
        server.suspend()

    def resume(self, server: RedisProcess) -> None:
        """Let a stopped server continue."""
        server.resume()
        self._absent.remove(server)

    def cut_off(self, server: RedisProcess) -> None:
        """Cut a server off the cluster's bus; it goes on to serve clients, and is not asked."""
        assert self._bus is not None
        self._absent.append(server)
        self._bus.cut(self.servers.index(server))

    def let_back(self, server: RedisProcess) -> None:
        """Let a server that was cut off talk to the others."""
        assert self._bus is not None
        self._bus.restore()
        self._absent.remove(server)

    def is_master(self, server: RedisProcess) -> bool:
        """Return whether a server takes itself for a master."""
        return bool(self.ask(server, "ROLE")[0] == b"master")

    def master_of(self, slot: int) -> RedisProcess:
        """Return the running master that has a slot. Raises ProcessError."""
        for server in self.running:
            for node in self._nodes(server):
                is_own = "myself" in node[2] and "master" in node[2]
                if is_own and any(_covers(slots, slot) for slots in node[8:]):
                    return server
        raise ProcessError(f"no running master has slot {slot}")

    def replica_of(self, master: RedisProcess) -> RedisProcess:
        """Return a running replica of a master. Raises ProcessError."""
        own = self.id_of(master)
        for server in self.running:
            if any("myself" in node[2] and node[3] == own for node in self._nodes(server)):
                return server
        raise ProcessError("the master has no replica")

    # Doing

    def move_slot(self, slot: int, target: RedisProcess, keys_at_once: int = 1) -> None:
        """Move a slot as `redis-cli --cluster reshard` does, key by key."""
        source = self.master_of(slot)
        to, here = self.id_of(target), self.id_of(source)
        self.ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", here)
        self.ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", to)
        auth = ("AUTH", self._password) if self._password else ()
        while keys := self.ask(source, "CLUSTER", "GETKEYSINSLOT", slot, keys_at_once):
            place = ("127.0.0.1", target.port, "", 0, 5000)
            self.ask(source, "MIGRATE", *place, *auth, "KEYS", *keys)
        for server in (target, source, *self.running):
            if self.is_master(server):
                self.ask(server, "CLUSTER", "SETSLOT", slot, "NODE", to)

    def migrate_slot(self, slot: int, target: RedisProcess) -> None:
        """Move a slot at once, which Valkey 9 can."""
        source = self.master_of(slot)
        to = self.id_of(target)
        self.ask(source, "CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", to)
        self.wait_for_new_master(slot, source)

    # Waiting

    def wait_complete(self) -> None:
        """Wait until all running servers say that the cluster is ok, and replicas follow."""
        wait_until(lambda: all(map(self._is_content, self.running)), "a cluster that is ok")

    def _is_content(self, server: RedisProcess) -> bool:
        try:
            state: bytes = self.ask(server, "CLUSTER", "INFO")
            role = self.ask(server, "ROLE")
        except (LibraryError, OSError):
            return False
        follows = role[0] == b"master" or role[3] == b"connected"
        return b"cluster_state:ok" in state and follows

    def wait_for_new_master(self, slot: int, old: RedisProcess) -> RedisProcess:
        """Wait until another running server has a slot, and return it."""

        def is_another() -> bool:
            try:
                return self.master_of(slot) is not old
            except (ProcessError, LibraryError, OSError):
                return False

        wait_until(is_another, "another master")
        return self.master_of(slot)


def slot_of(key: str) -> int:
    """Return the slot of a key."""
    return int(key_slot(key.encode()))


def _covers(slots: str, slot: int) -> bool:
    """Return whether a field of CLUSTER NODES, FIRST-LAST or one number, has a slot."""
    if slots.startswith("["):  # on its way
        return False
    first, _, last = slots.partition("-")
    return int(first) <= slot <= int(last or first)

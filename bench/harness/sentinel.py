"""A master with replicas, and the sentinels that watch them."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from redis import Redis
from redis.exceptions import RedisError as LibraryError

from bench.harness.addresses import free_port
from bench.harness.child import ChildProcess, ProcessError
from bench.harness.redis import RedisProcess
from bench.harness.running import Running
from bench.harness.waiting import wait_until

SERVICE: Final = "main"
DOWN_AFTER_S: Final = 1.0
"""How long a server does not answer before a sentinel takes it for dead."""
QUICK: Final = ("INFO-PERIOD", 500, "PUBLISH-PERIOD", 500)
"""Periods of a sentinel in milliseconds that make a former master a replica after three seconds."""
PATIENT: Final = ()
"""The sentinels' own periods, with which that takes about ten seconds."""
_SERVERS: Final = 3
_SENTINELS: Final = 3
# A failover that did not succeed is tried again after twice this time.
_FAILOVER_TIMEOUT_MS: Final = 5000


class SentinelProcess(ChildProcess):
    """A sentinel on a loopback port, which a restart does not change, and on a unix socket.

    Args:
        binary: a Redis or Valkey server.
        master_port: of the first master.
        settings: further lines of its file.
        tls: settings that name certificates; then the port is one for TLS.
        password: of its default user; empty for none.
    """

    name = "sentinel"

    def __init__(
        self,
        binary: str | Path,
        master_port: int,
        settings: Sequence[str] = (),
        tls: Sequence[str] = (),
        password: str = "",
    ) -> None:
        super().__init__()
        self._binary = binary
        self._password = password
        self.port = free_port()
        protected = (f"requirepass {password}", f"sentinel sentinel-pass {password}")
        self._settings = (
            *(("port 0", f"tls-port {self.port}") if tls else (f"port {self.port}",)),
            "bind 127.0.0.1",
            f"unixsocket {self._socket_path}",
            f"sentinel monitor {SERVICE} 127.0.0.1 {master_port} {_SENTINELS // 2 + 1}",
            f"sentinel down-after-milliseconds {SERVICE} {int(DOWN_AFTER_S * 1000)}",
            f"sentinel failover-timeout {SERVICE} {_FAILOVER_TIMEOUT_MS}",
            *(protected if password else ()),
            *_lines(tls),
            *settings,
        )

    @property
    def _socket_path(self) -> Path:
        return self.private_directory / "sentinel.sock"

    def _start(self, timeout_s: float) -> None:
        settings = self.private_directory / "sentinel.conf"
        if not settings.exists():  # it writes into it what it has learnt
            settings.write_text("\n".join((*self._settings, "")))
        self._spawn([self._binary, settings, "--sentinel"])
        self._wait_until(self._answers, "an answer to PING", timeout_s)

    def _answers(self) -> bool:
        try:
            return bool(self.ask("PING"))
        except (LibraryError, OSError):
            return False

    def ask(self, *command: str | int) -> Any:  # noqa: ANN401  (any RESP2 value)
        """Run one command. Raises OSError or redis-py's errors."""
        with Redis(
            unix_socket_path=str(self._socket_path),
            password=self._password or None,
            socket_timeout=2,
            protocol=2,
            decode_responses=True,
        ) as client:
            return client.execute_command(*command)

    def master_port(self) -> int:
        """Return the port of the master that it names; 0 without an answer."""
        try:
            return int(self.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1])
        except (LibraryError, OSError, TypeError):
            return 0

    def is_content(self) -> bool:
        """Return whether it knows the other sentinels, and all replicas follow the master."""
        try:
            master = _pairs(self.ask("SENTINEL", "MASTER", SERVICE))
            replicas = [_pairs(each) for each in self.ask("SENTINEL", "REPLICAS", SERVICE)]
        except (LibraryError, OSError):
            return False
        following = [
            each
            for each in replicas
            if each["flags"] == "slave" and each["master-link-status"] == "ok"
        ]
        is_known = int(master["num-other-sentinels"]) == _SENTINELS - 1
        return is_known and master["flags"] == "master" and len(following) == _SERVERS - 1


class SentinelTrio(Running):
    """Three sentinels, a master and two replicas; lives as long as its `with` block.

    Args:
        binary: of servers and sentinels.
        args: further arguments of the servers.
        env: the environment of the servers.
        password: of the servers' default user; empty for none.
        sentinel_password: of the sentinels'; empty for none.
        tls: arguments that name the certificates of servers and sentinels; none without TLS.
        periods: of the sentinels, `QUICK` or `PATIENT`.
    """

    def __init__(
        self,
        binary: str | Path = "redis-server",
        args: Sequence[str] = (),
        *,
        env: Mapping[str, str] | None = None,
        password: str = "",
        sentinel_password: str = "",
        tls: Sequence[str] = (),
        periods: Sequence[str | int] = QUICK,
    ) -> None:
        self._binary = binary
        self._args = args
        self._env = env
        self._password = password
        self._sentinel_password = sentinel_password
        self._tls = (*tls, "--tls-replication", "yes") if tls else ()
        self._periods = periods
        self.servers: list[RedisProcess] = []
        self.sentinels: list[SentinelProcess] = []

    def _start(self, parts: ExitStack) -> None:
        for _ in range(_SERVERS):
            self.servers.append(parts.enter_context(self._server()))
        first = self.servers[0].port
        for replica in self.servers[1:]:
            self.ask(replica, "REPLICAOF", "127.0.0.1", first)
        for _ in range(_SENTINELS):
            self.sentinels.append(parts.enter_context(self._sentinel(first)))
        self.quicken()
        self.wait_complete()

    def _server(self) -> RedisProcess:
        args = ["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1", *self._args]
        if self._password:
            args += ["--requirepass", self._password, "--masterauth", self._password]
        return RedisProcess(self._binary, args, tcp=True, tls=self._tls, env=self._env)

    def _sentinel(self, master_port: int) -> SentinelProcess:
        settings = [f"sentinel auth-pass {SERVICE} {self._password}"] if self._password else []
        return SentinelProcess(
            self._binary, master_port, settings, self._tls, self._sentinel_password
        )

    def quicken(self) -> None:
        """Give every sentinel the periods; one that was started again has forgotten them."""
        for sentinel in self._running:
            if self._periods:
                sentinel.ask("SENTINEL", "DEBUG", *self._periods)

    @property
    def url(self) -> str:
        """The address for `--redis-url`, with passwords where there are any."""
        user = f":{self._password}@" if self._password else ""
        query = f"?sentinel_password={self._sentinel_password}" if self._sentinel_password else ""
        return f"{'rediss' if self._tls else 'redis'}+sentinel://{user}{self.places}{query}"

    @property
    def nodes_url(self) -> str:
        """The same, as a single Redis has it."""
        return self.url

    @property
    def places(self) -> str:
        """The sentinels and the service, as they are in a URL."""
        return ",".join(f"127.0.0.1:{each.port}" for each in self.sentinels) + f"/{SERVICE}"

    # Asking

    @property
    def _running(self) -> list[SentinelProcess]:
        return [each for each in self.sentinels if each.running]

    def ask(self, server: RedisProcess, *command: str | int | bytes) -> Any:  # noqa: ANN401
        """Run one command on a server. Raises OSError or redis-py's errors."""
        path = str(server.socket_path)
        password = self._password or None
        with Redis(unix_socket_path=path, password=password, socket_timeout=5) as client:
            return client.execute_command(*command)

    @property
    def master(self) -> RedisProcess:
        """The server that most sentinels name. Raises ProcessError."""
        ports = [sentinel.master_port() for sentinel in self._running]
        port = max(ports, key=ports.count)
        for server in self.servers:
            if server.port == port:
                return server
        raise ProcessError(f"the sentinels name port {port}, which is no server's")

    @property
    def replicas(self) -> list[RedisProcess]:
        """The other servers."""
        master = self.master
        return [server for server in self.servers if server is not master]

    # Waiting

    def wait_for_new_master(self, old: RedisProcess) -> RedisProcess:
        """Wait until all running sentinels name another server, and return it."""

        def is_another() -> bool:
            ports = {sentinel.master_port() for sentinel in self._running}
            return len(ports) == 1 and not ports & {0, old.port}

        wait_until(is_another, "another master")
        return self.master

    def wait_complete(self) -> None:
        """Wait until all sentinels see each other, and a master that the other servers follow."""
        wait_until(
            lambda: all(sentinel.is_content() for sentinel in self._running),
            "sentinels that know each other and all servers",
            timeout_s=40,
        )

    def fail_over(self) -> None:
        """Ask a sentinel for a failover until it begins one."""

        def is_begun() -> bool:
            try:
                self._running[0].ask("SENTINEL", "FAILOVER", SERVICE)
            except LibraryError:  # INPROG, or NOGOODSLAVE soon after another failover
                return False
            return True

        wait_until(is_begun, "a failover to begin")


def _lines(arguments: Sequence[str]) -> list[str]:
    """Return arguments of the command line, names and values in turn, as settings of a file."""
    pairs = zip(arguments[::2], arguments[1::2], strict=True)
    return [f"{name.removeprefix('--')} {value}" for name, value in pairs]


def _pairs(flat: Sequence[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))

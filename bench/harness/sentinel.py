"""A master with replicas, and the sentinels that watch them."""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from redis import Redis
from redis.exceptions import RedisError as LibraryError

from bench.harness.addresses import ask, free_port
from bench.harness.child import ChildProcess, ProcessError
from bench.harness.redis import RedisProcess
from bench.harness.running import Running

SERVICE: Final = "main"
DOWN_AFTER_S: Final = 1.0
"""How long a server does not answer before a sentinel takes it for dead."""
PATIENT: Final = ()
"""The periods of a sentinel as they are: a former master is made a replica after ten seconds."""
QUICK: Final = ("INFO-PERIOD", 500, "PUBLISH-PERIOD", 500)
"""Shorter periods: a former master is made a replica after three seconds."""
_SENTINELS: Final = 3
_POLL_INTERVAL_S: Final = 0.01  # arbitrary: the state of another process has to be polled
_START_TIMEOUT_S: Final = 20.0  # arbitrary
# Sentinel: an address that failed over is not failed over again for twice this time.
_FAILOVER_TIMEOUT_MS: Final = 5000


class SentinelProcess(ChildProcess):
    """A sentinel on a loopback port, which a restart does not change."""

    name = "sentinel"

    def __init__(self, binary: str | Path, master_port: int, args: Sequence[str] = ()) -> None:
        """Take the server's program, the port of the first master, and further settings."""
        super().__init__()
        self._binary = binary
        self.port = free_port()
        down_after_ms = int(DOWN_AFTER_S * 1000)
        self._settings = (
            f"port {self.port}",
            "bind 127.0.0.1",
            f"sentinel monitor {SERVICE} 127.0.0.1 {master_port} {_SENTINELS // 2 + 1}",
            f"sentinel down-after-milliseconds {SERVICE} {down_after_ms}",
            f"sentinel failover-timeout {SERVICE} {_FAILOVER_TIMEOUT_MS}",
            *args,
        )

    def _start(self, timeout_s: float) -> None:
        settings = self.private_directory / "sentinel.conf"
        if not settings.exists():  # it keeps in it what it has learnt
            settings.write_text("\n".join((*self._settings, "")))
        self._spawn([self._binary, settings, "--sentinel"])
        self._wait_until(self._answers, "an answer to PING", timeout_s)

    def _answers(self) -> bool:
        answer = ask(f"http://127.0.0.1:{self.port}", b"PING\r\n")
        return answer.startswith((b"+PONG", b"-NOAUTH"))


class SentinelTrio(Running):
    """Three sentinels, a master and two replicas; lives as long as its `with` block.

    Args:
        binary: of servers and sentinels.
        args: further arguments of the servers.
        sentinel_settings: lines of each sentinel's file.
        env: the environment of the servers.
        password: of the servers' default user; empty for none.
        tls: arguments that name the certificates of servers and sentinels; none without TLS.
        periods: of the sentinels, `PATIENT` or `QUICK`.
    """

    def __init__(
        self,
        binary: str | Path = "redis-server",
        args: Sequence[str] = (),
        *,
        sentinel_settings: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        password: str = "",
        tls: Sequence[str] = (),
        periods: Sequence[str | int] = QUICK,
    ) -> None:
        self._binary = binary
        self._args = args
        self._sentinel_settings = sentinel_settings
        self._env = env
        self._password = password
        self._tls = tls
        self._periods = periods
        self.servers: list[RedisProcess] = []
        self.sentinels: list[SentinelProcess] = []

    def _start(self, parts: ExitStack) -> None:
        for _ in range(3):
            self.servers.append(parts.enter_context(self._server()))
        first = self.servers[0].port
        for replica in self.servers[1:]:
            self.ask(replica, "REPLICAOF", "127.0.0.1", first)
        for _ in range(_SENTINELS):
            sentinel = SentinelProcess(self._binary, first, self._sentinel_settings)
            self.sentinels.append(parts.enter_context(sentinel))
            if self._periods:
                self.ask_sentinel(-1, "SENTINEL", "DEBUG", *self._periods)
        self.wait_until(self._is_complete, "sentinels that know each other and the replicas")

    def _server(self) -> RedisProcess:
        args = ["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1", *self._args]
        return RedisProcess(self._binary, args, tcp=True, env=self._env)

    @property
    def url(self) -> str:
        """The address for `--redis-url`."""
        places = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        user = f":{self._password}@" if self._password else ""
        return f"redis+sentinel://{user}{places}/{SERVICE}"

    # Asking

    def ask(self, server: RedisProcess, *command: str | int | bytes) -> Any:  # noqa: ANN401
        """Run one command on a server."""
        path = str(server.socket_path)
        with Redis(
            unix_socket_path=path, socket_timeout=5, password=self._password or None
        ) as client:
            return client.execute_command(*command)

    def ask_sentinel(self, number: int, *command: str | int) -> Any:  # noqa: ANN401
        """Run one command on a sentinel. Raises redis-py's errors."""
        port = self.sentinels[number].port
        with Redis(port=port, socket_timeout=2, protocol=2, decode_responses=True) as client:
            return client.execute_command(*command)

    @property
    def running_sentinels(self) -> list[int]:
        """The numbers of the sentinels whose process runs."""
        return [number for number, each in enumerate(self.sentinels) if each.running]

    @property
    def master(self) -> RedisProcess:
        """The server that most running sentinels name. Raises ProcessError."""
        ports = [self._named_port(number) for number in self.running_sentinels]
        port = max(ports, key=ports.count)
        for server in self.servers:
            if server.port == port:
                return server
        raise ProcessError(f"the sentinels name port {port}, which is no server's")

    def _named_port(self, number: int) -> int:
        try:
            return int(self.ask_sentinel(number, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1])
        except (LibraryError, OSError, TypeError):
            return 0

    def _is_complete(self) -> bool:
        for number in self.running_sentinels:
            try:
                state = _pairs(self.ask_sentinel(number, "SENTINEL", "MASTER", SERVICE))
                replicas = self.ask_sentinel(number, "SENTINEL", "REPLICAS", SERVICE)
            except (LibraryError, OSError):
                return False
            in_step = [each for each in map(_pairs, replicas) if _is_in_step(each)]
            is_known = int(state["num-other-sentinels"]) == len(self.sentinels) - 1
            if not is_known or len(in_step) < len(self.servers) - 1:
                return False
        return True

    # Waiting

    def wait_until(self, is_true: Any, what: str, timeout_s: float = _START_TIMEOUT_S) -> None:  # noqa: ANN401
        """Wait until a condition is true. Raises ProcessError."""
        deadline_s = time.monotonic() + timeout_s
        while not is_true():
            if time.monotonic() > deadline_s:
                raise ProcessError(f"had {timeout_s:g} s for {what}")
            time.sleep(_POLL_INTERVAL_S)

    def wait_for_new_master(self, old: RedisProcess, timeout_s: float = 20.0) -> RedisProcess:
        """Wait until all running sentinels name another server, and return it."""

        def is_another() -> bool:
            ports = {self._named_port(number) for number in self.running_sentinels}
            return len(ports) == 1 and not ports & {0, old.port}

        self.wait_until(is_another, "another master", timeout_s)
        return self.master

    def wait_complete(self, timeout_s: float = 30.0) -> None:
        """Wait until every server is the master or in step with it, by all sentinels."""
        self.wait_until(self._is_complete, "a master with two replicas in step", timeout_s)

    def fail_over(self) -> None:
        """Ask a sentinel for a failover; the sentinels may need a moment after another one."""

        def is_begun() -> bool:
            try:
                self.ask_sentinel(self.running_sentinels[0], "SENTINEL", "FAILOVER", SERVICE)
            except LibraryError:  # INPROG, NOGOODSLAVE
                return False
            return True

        self.wait_until(is_begun, "a sentinel to begin a failover")


def _pairs(flat: Sequence[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _is_in_step(replica: dict[str, str]) -> bool:
    return replica["flags"] == "slave" and replica["master-link-status"] == "ok"

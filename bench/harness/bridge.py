"""Bridges, as `python -m sse_node bridge` starts them."""

import sys
from collections.abc import Mapping

from bench.harness.addresses import free_port
from bench.harness.node import NodeProcess


class BridgeProcess(NodeProcess):
    """One bridge with the given words and flags, such as `kafka --brokers 127.0.0.1:9092`.

    It is up when its port for health and metrics is open.
    """

    name = "sse-node-bridge"
    command = (sys.executable, "-m", "sse_node", "bridge")

    def __init__(
        self, *flags: str, env: Mapping[str, str] | None = None, cpu: int | None = None
    ) -> None:
        """Take the settings; `env` is added to the environment."""
        super().__init__(*flags, env=env, cpu=cpu, port=free_port())

    def _words(self) -> list[str]:
        return [*self._flags, "--health-port", str(self.port)]

"""A Kafka broker, controller and all, in one Java process."""

import subprocess
from pathlib import Path

from bench.harness.addresses import ReservedPort, accepts
from bench.harness.child import ChildProcess, ProcessError

_FOLDER = Path(__file__).parent / "kafka"
_CLASSES = str(_FOLDER / "lib" / "*")  # expanded by Java, not by a shell
_JAVA = ("java", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", _CLASSES)
_CLUSTER_ID = "c3NlLW5vZGUtY2x1c3Rlcg"
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={directory}/logs
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
"""


class KafkaProcess(ChildProcess):
    """A broker on a loopback port; what it has been given survives a restart.

    It is up when it accepts connections.
    """

    name = "kafka"

    def __init__(self, *, cpu: int | None = None) -> None:
        """Take the settings; nothing runs before `start`."""
        super().__init__(cpu=cpu)
        self._reserved = ReservedPort()
        self._controller = ReservedPort()
        self.port = self._reserved.number

    @property
    def brokers(self) -> str:
        """The address for clients; a restart does not change it."""
        return f"127.0.0.1:{self.port}"

    def start(self, timeout_s: float = 60.0) -> None:
        """Start the broker, slow beside other load. Raises ProcessError."""
        super().start(timeout_s)

    def _start(self, timeout_s: float) -> None:
        properties = self.private_directory / "server.properties"
        if not properties.exists():
            self._format(properties)
        self._spawn([*_JAVA, "kafka.Kafka", properties])
        self._wait_until(
            lambda: accepts("127.0.0.1", self.port), "accepting connections", timeout_s
        )

    def close(self) -> None:
        """Stop the broker and remove its private directory. Idempotent."""
        super().close()
        self._reserved.close()
        self._controller.close()

    def _format(self, properties: Path) -> None:
        if not (_FOLDER / "lib").is_dir():
            raise ProcessError("Kafka is not installed; `make peers` installs it")
        properties.write_text(
            _PROPERTIES.format(
                port=self.port,
                controller=self._controller.number,
                directory=self.private_directory,
            )
        )
        tool = [
            *_JAVA,
            "kafka.tools.StorageTool",
            "format",
            "-t",
            _CLUSTER_ID,
            "-c",
            str(properties),
        ]
        formatted = subprocess.run(tool, capture_output=True, text=True, check=False)
        if formatted.returncode:
            raise ProcessError(f"Kafka's folder cannot be formatted: {formatted.stderr[-500:]}")

"""The client of Kafka: its configuration, and its calls in a thread of their own.

A call blocks, and rebalances happen inside one. So there is one thread, and one call at a time.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from confluent_kafka import KafkaException

from sse_node.config.bridges import KafkaSettings
from sse_node.errors import BrokerError, ConfigError
from sse_node.logs.rate_limit import OncePerSecond

T = TypeVar("T")

_STATISTICS_MS: Final = 2000
# Bytes of records that the library reads ahead, of all partitions together.
_READ_AHEAD_KB: Final = 16384
_COMMIT_MS: Final = 1000
# After which others get the partitions of a bridge that was killed; the library's default is 45 s.
_SESSION_MS: Final = 10_000

logger = logging.getLogger(__name__)


class KafkaThread:
    """The thread in which the library is called; lives as long as the bridge."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, "kafka")

    async def call(self, function: Callable[..., T], *args: Any) -> T:  # noqa: ANN401
        """Return what a blocking call returns.

        Raises:
            BrokerError: the brokers do not answer, or refuse.
        """
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._executor, function, *args)
        except KafkaException as exc:
            raise BrokerError(f"Kafka: {describe(exc)}") from exc

    def shutdown(self) -> None:
        """End the thread after its last call."""
        self._executor.shutdown(wait=False)


def describe(exc: KafkaException) -> str:
    """Return the library's words for an error."""
    error = exc.args[0] if exc.args else exc
    return str(error.str()) if hasattr(error, "str") else str(error)


def client_configuration(settings: KafkaSettings) -> dict[str, Any]:
    """Return the properties that every client of a bridge has.

    Raises:
        ConfigError: the file of `--kafka-config` cannot be used.
    """
    named = {
        "bootstrap.servers": settings.brokers,
        "security.protocol": settings.security_protocol,
        "sasl.mechanism": settings.sasl_mechanism,
        "sasl.username": settings.sasl_username,
        "sasl.password": settings.sasl_password,
        "ssl.ca.location": settings.ssl_ca_location,
    }
    configuration: dict[str, Any] = {"client.id": "sse-node"}
    configuration |= {name: value for name, value in named.items() if value}
    return configuration | _properties(settings.kafka_config)


def consumer_configuration(
    settings: KafkaSettings, on_statistics: Callable[[str], None]
) -> dict[str, Any]:
    """Return the properties of the consumer: it commits nothing but stored offsets.

    Args:
        settings: where, and as who.
        on_statistics: called in the thread with the library's statistics, JSON.

    Raises:
        ConfigError: the file of `--kafka-config` cannot be used.
    """
    chosen = client_configuration(settings)
    defaults = {
        "auto.commit.interval.ms": _COMMIT_MS,
        "auto.offset.reset": settings.offset_reset,
        "queued.max.messages.kbytes": _READ_AHEAD_KB,
        "statistics.interval.ms": _STATISTICS_MS,
    }
    if chosen.get("group.protocol") != "consumer":
        defaults["partition.assignment.strategy"] = "cooperative-sticky"
        defaults["session.timeout.ms"] = _SESSION_MS
    fixed = {
        "group.id": settings.group,
        "enable.auto.commit": True,
        "enable.auto.offset.store": False,
        "isolation.level": "read_committed",
        "stats_cb": on_statistics,
        "logger": library_logger(),
    }
    return defaults | chosen | fixed


def library_logger() -> logging.Logger:
    """Return a logger that lets the library's lines through once a second for each kind."""
    found = logging.getLogger(f"{__name__}.library")
    if not found.filters:
        lines = OncePerSecond()

        def allows(record: logging.LogRecord) -> bool:
            return lines.allows(record.getMessage()[:20])

        found.addFilter(allows)
    return found


def _properties(path: str) -> dict[str, str]:
    if not path:
        return {}
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError("--kafka-config", path, f"a readable file ({exc})") from exc
    pairs = [line.partition("=") for line in lines if line and not line.startswith("#")]
    if any(not equals for _, equals, _ in pairs):
        raise ConfigError("--kafka-config", path, "lines of NAME=VALUE")
    return {name.strip(): value.strip() for name, _, value in pairs}

"""Starts and stops the real processes of the benchmarks and the integration tests.

Every process ends by its own id at the end of its `with` block. If the thread that started it
ends first, the kernel ends the process (PR_SET_PDEATHSIG), so start processes from a thread that
lives long enough. Temporary directories are removed with their process.

Everything is synchronous with a timeout: a process that does not start in time raises
`ProcessError` with the last lines of its log.
"""

from bench.harness.addresses import accepts, ask, free_port
from bench.harness.bridge import BridgeProcess
from bench.harness.child import ROOT, ChildProcess, ProcessError
from bench.harness.cluster import Cluster
from bench.harness.kafka_broker import KafkaProcess
from bench.harness.nginx import AnyNginxProcess, NginxProcess, nginx_binary, place_nginx_conf
from bench.harness.node import NodeProcess, WebhooksProcess, environment_without_settings
from bench.harness.rabbitmq import RabbitProcess
from bench.harness.redis import DURABLE, RedisProcess, valkey_binary
from bench.harness.sentinel import SentinelTrio

__all__ = [
    "DURABLE",
    "ROOT",
    "AnyNginxProcess",
    "BridgeProcess",
    "ChildProcess",
    "Cluster",
    "KafkaProcess",
    "NginxProcess",
    "NodeProcess",
    "ProcessError",
    "RabbitProcess",
    "RedisProcess",
    "SentinelTrio",
    "WebhooksProcess",
    "accepts",
    "ask",
    "environment_without_settings",
    "free_port",
    "nginx_binary",
    "place_nginx_conf",
    "valkey_binary",
]

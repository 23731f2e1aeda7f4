"""Starts and stops the real processes of the benchmark and the integration tests.

Every process started here is ended here, by its own id: at the end of its `with` block, or by
the kernel when the thread that started it ends first (PR_SET_PDEATHSIG). So start a process from
a thread that lives as long as the process shall. Temporary directories go with their process.

Everything is synchronous and bounded in time: what does not come up in time raises
`ProcessError` with the last lines of the process's log.
"""

from bench.harness.addresses import accepts, ask, free_port
from bench.harness.child import ROOT, ChildProcess, ProcessError
from bench.harness.nginx import AnyNginxProcess, NginxProcess, nginx_binary, place_nginx_conf
from bench.harness.node import NodeProcess, environment_without_settings
from bench.harness.redis import RedisProcess, valkey_binary

__all__ = [
    "ROOT",
    "AnyNginxProcess",
    "ChildProcess",
    "NginxProcess",
    "NodeProcess",
    "ProcessError",
    "RedisProcess",
    "accepts",
    "ask",
    "environment_without_settings",
    "free_port",
    "nginx_binary",
    "place_nginx_conf",
    "valkey_binary",
]

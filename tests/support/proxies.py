"""The proxies of deploy/proxies in front of nodes: their addresses and paths are replaced."""

from __future__ import annotations

import shutil
import signal
from typing import TYPE_CHECKING

from bench.harness import ROOT
from bench.harness.addresses import accepts, free_port
from bench.harness.child import ChildProcess

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CONFIGURATIONS = ROOT / "deploy" / "proxies"
_SBIN = "/usr/sbin:/usr/bin"


class ProxyProcess(ChildProcess):
    """One proxy; it is up when it accepts connections.

    Args:
        node_ports: of the two nodes, on 127.0.0.1.
    """

    file = ""

    def __init__(self, node_ports: Sequence[int]) -> None:
        super().__init__()
        self.host = "127.0.0.1"
        self.port = free_port()
        self._node_ports = node_ports

    @property
    def url(self) -> str:
        """The base address for HTTP clients, without a slash at the end."""
        return f"http://{self.host}:{self.port}"

    def _start(self, timeout_s: float) -> None:
        text = (CONFIGURATIONS / self.file).read_text()
        for number, port in enumerate(self._node_ports, 1):
            assert text.count(f"10.0.0.1{number}:3000") == 1
            text = text.replace(f"10.0.0.1{number}:3000", f"127.0.0.1:{port}")
        path = self.private_directory / self.file
        path.write_text(self._placed(text))
        self._spawn(self._command(path))
        self._wait_until(lambda: accepts(self.host, self.port), "a connection", timeout_s)

    def _placed(self, text: str) -> str:
        raise NotImplementedError

    def _command(self, path: Path) -> list[str]:
        raise NotImplementedError


class HaproxyProcess(ProxyProcess):
    """HAProxy with deploy/proxies/haproxy.cfg."""

    name = "haproxy"
    file = "haproxy.cfg"

    def _placed(self, text: str) -> str:
        return text.replace("bind :8080", f"bind 127.0.0.1:{self.port}")

    def _command(self, path: Path) -> list[str]:
        program = shutil.which("haproxy", path=_SBIN) or "haproxy"
        # -n wins over the file's maxconn: a machine of tests may have fewer descriptors.
        return [program, "-db", "-n", "1000", "-f", str(path)]


class CaddyProcess(ProxyProcess):
    """Caddy with deploy/proxies/Caddyfile."""

    name = "caddy"
    stop_signal = signal.SIGKILL  # it would wait for open streams
    file = "Caddyfile"

    def _placed(self, text: str) -> str:
        return text.replace(":8080 {", f"http://:{self.port} {{\n\tbind 127.0.0.1")

    def _command(self, path: Path) -> list[str]:
        return ["caddy", "run", "--adapter", "caddyfile", "--config", str(path)]


class ApacheProcess(ProxyProcess):
    """Apache with deploy/proxies/apache.conf."""

    name = "apache"
    file = "apache.conf"

    def _placed(self, text: str) -> str:
        for folder in ("/run/apache2", "/var/log/apache2"):
            text = text.replace(folder, str(self.private_directory))
        return text.replace("Listen 8080", f"Listen 127.0.0.1:{self.port}")

    def _command(self, path: Path) -> list[str]:
        return [shutil.which("apache2", path=_SBIN) or "apache2", "-f", str(path), "-DFOREGROUND"]


PROXIES = {each.name: each for each in (HaproxyProcess, CaddyProcess, ApacheProcess)}

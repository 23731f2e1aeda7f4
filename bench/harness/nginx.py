"""nginx with the project's configuration."""

import contextlib
import grp
import os
import pwd
import re
import select
import shutil
import signal
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.harness.addresses import accepts, free_port
from bench.harness.child import ChildProcess, ProcessError
from bench.measure import procfs as proc


class AnyNginxProcess(ChildProcess):
    """An nginx with the configuration of a subclass; it is up when it accepts connections."""

    name = "nginx"
    death_signal = signal.SIGTERM  # a killed master would leave its workers running

    def __init__(self, *, cpu: int | None = None) -> None:
        """Take the core it runs on."""
        super().__init__(cpu=cpu)
        self.host = "127.0.0.1"
        self.port = free_port()

    @property
    def url(self) -> str:
        """The base address for HTTP clients, without a slash at the end."""
        return f"http://{self.host}:{self.port}"

    def reload(self, timeout_s: float = 10.0) -> None:
        """Reload the configuration and wait for new workers. Raises ProcessError."""
        before = self._workers()
        self.send_signal(signal.SIGHUP)
        self._wait_until(lambda: bool(self._workers() - before), "new workers", timeout_s)

    def kill(self) -> None:
        """Kill the master and its workers (SIGKILL) and wait for their end."""
        with contextlib.ExitStack() as open_descriptors:
            workers = []
            if self.running:
                for pid in self._workers():
                    workers.append(os.pidfd_open(pid))
                    open_descriptors.callback(os.close, workers[-1])
                os.killpg(self.pid, signal.SIGKILL)
            self._started().wait()
            for worker in workers:
                select.select([worker], [], [])

    def last_output(self) -> Iterable[str]:
        """Return the lines of its error log, the newest last."""
        return (*super().last_output(), *self._error_log.read_text().splitlines())

    @property
    def access_log(self) -> Path:
        """The file in which it logs requests."""
        return self.private_directory / "access.log"

    @property
    def _error_log(self) -> Path:
        return self.private_directory / "error.log"

    def _start(self, timeout_s: float) -> None:
        directory = self.private_directory
        self._error_log.touch()
        conf = directory / "nginx.conf"
        conf.write_text(self._configuration())
        self._spawn(
            [
                nginx_binary() or "nginx",
                *("-c", conf, "-p", directory, "-e", self._error_log, "-g", "daemon off;"),
            ]
        )
        self._wait_until(lambda: accepts(self.host, self.port), "a connection", timeout_s)

    def _configuration(self) -> str:
        """Return the text of its nginx.conf."""
        raise NotImplementedError

    def _workers(self) -> set[int]:
        return set(proc.children(self.pid))


class NginxProcess(AnyNginxProcess):
    """An nginx in front of nodes, with the given nginx.conf.

    Only user, paths and addresses are replaced; each server of the upstream becomes one node.
    """

    def __init__(
        self, conf: Path, node_addresses: Sequence[str], *, cpu: int | None = None
    ) -> None:
        """Take the addresses as `NodeProcess.address` has them."""
        super().__init__(cpu=cpu)
        self._conf = conf
        self._node_addresses = node_addresses

    def _configuration(self) -> str:
        return place_nginx_conf(
            self._conf.read_text(),
            self.private_directory,
            f"{self.host}:{self.port}",
            self._node_addresses,
        )


def nginx_binary() -> str | None:
    """Return the path of nginx; Debian's folder for it is not always on PATH."""
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def place_nginx_conf(conf: str, directory: Path, listen: str, node_addresses: Sequence[str]) -> str:
    """Return an nginx.conf with this user, these paths and addresses. Raises ProcessError.

    Each of them has a line of its own, whose other parameters do not change.
    """
    nodes = iter(address.removeprefix("http://") for address in node_addresses)
    user = pwd.getpwuid(os.geteuid()).pw_name
    group = grp.getgrgid(os.getegid()).gr_name

    def placed(line: re.Match[str]) -> str:
        start, directive, value, rest = line.groups()
        if directive == "user":
            value = f"{user} {group}"
        elif directive == "listen":
            value = listen
        elif directive == "server":
            value = next(nodes)
        else:  # a file or a directory of its own
            value = str(directory / Path(value).name)
        return f"{start}{directive} {value}{rest}"

    place = r"^( *)(user|pid|error_log|access_log|\w+_temp_path|listen|server) ([^\s;{]+)(.*;)$"
    try:
        text = re.sub(place, placed, conf, flags=re.MULTILINE)
    except StopIteration as error:
        raise ProcessError("nginx.conf names more servers than there are nodes") from error
    if surplus := list(nodes):
        raise ProcessError(f"nginx.conf has no server for {', '.join(surplus)}")
    return text

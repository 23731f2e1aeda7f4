"""`nchan`: nginx with Debian's module nchan, one worker; events come by HTTP POST."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from bench.harness import AnyNginxProcess, ask, free_port, nginx_binary
from bench.harness.servers import Server
from bench.measure.load import Publisher, Sender
from bench.report.tables import output_of

_PACKAGE = "libnginx-mod-nchan"
_MODULE = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")

# At rate 0, events are sent in batches of this size. `python -m bench compare --work saturate
# --peer nchan` with 1, 8, 16, 64 and 0 (never waiting), six rounds of each in turn on two shared
# cores: 87,000 to 229,000, 88,000 to 256,000, 58,000 to 314,000, 86,000 to 130,000 and 90,000 to
# 210,000 deliveries/s. Rounds differ more than batch sizes; the fastest round was one of 16.
BATCH = 16

# Publishing has a server of its own: one connection with many pipelined requests needs a large
# buffer and no limit of 1,000 requests, and the streams do not pay for it.
#
# The message buffer is nchan's history, as a node has one: 1,000 messages of each channel for a
# minute, so that streams that read miss no message at any rate. New streams begin with the newest
# message, and the ping interval is the node's. nchan refuses messages when the shared memory is
# full, so it is large enough for all of them.
_CONFIGURATION = """
load_module {module};
worker_processes 1;
worker_rlimit_nofile 20000;
pid {directory}/nginx.pid;
error_log {directory}/error.log warn;
events {{
    worker_connections 19900;
}}
http {{
    access_log off;
    server_tokens off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    nchan_shared_memory_size 512m;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location ~ ^/events/sse/(.+)$ {{
            nchan_subscriber eventsource;
            nchan_channel_id $1;
            nchan_subscriber_first_message newest;
            nchan_eventsource_ping_interval 15;
        }}
    }}
    server {{
        listen 127.0.0.1:{publish_port};
        client_header_buffer_size 64k;
        client_body_buffer_size 512k;
        client_max_body_size 512k;
        keepalive_requests 1000000000;
        location ~ ^/publish/(.+)$ {{
            nchan_publisher http;
            nchan_channel_id $1;
            nchan_message_buffer_length 1000;
            nchan_message_timeout 1m;
        }}
    }}
}}
"""


class _NchanProcess(AnyNginxProcess):
    """The master and its worker."""

    def __init__(self, cpu: int | None) -> None:
        super().__init__(cpu=cpu)
        self.publish_port = free_port()

    @property
    def pids(self) -> Sequence[int]:
        return [self.pid, *self._workers()]

    def _start(self, timeout_s: float) -> None:
        super()._start(timeout_s)
        # The master listens before a worker runs, and only a worker answers.
        request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        self._wait_until(lambda: ask(self.url, request) != b"", "an answer", timeout_s)

    def _configuration(self) -> str:
        return _CONFIGURATION.format(
            module=_MODULE,
            directory=self.private_directory,
            port=self.port,
            publish_port=self.publish_port,
        )


class Nchan(Server):
    """nginx with nchan on one core."""

    name = "nchan"
    publishing = (
        "HTTP POST on one keep-alive connection, pipelined; "
        f"events as fast as possible in batches of {BATCH}"
    )

    @property
    def pids(self) -> Sequence[int]:
        """The master and its worker."""
        return self._nginx.pids

    def sender(self) -> AbstractContextManager[Sender]:
        """Return a publisher that POSTs."""
        url = f"http://{self.host}:{self._nginx.publish_port}/publish/{{}}"
        return Publisher(url, BATCH)

    def _start(self, parts: ExitStack) -> None:
        self._nginx = parts.enter_context(_NchanProcess(self._cpu))
        self.host, self.port = self._nginx.host, self._nginx.port

    @staticmethod
    def missing() -> str:
        """Return whether nginx or its module is missing."""
        if nginx_binary() is None:
            return "the program nginx is"
        return "" if _MODULE.exists() else f"nginx's module {_MODULE.name} is"

    @staticmethod
    def versions() -> str:
        """Return the versions of nginx and of Debian's package of the module."""
        nginx = output_of(nginx_binary() or "nginx", "-v").rpartition("/")[2]
        package = output_of("dpkg-query", "--show", "--showformat", "${Version}", _PACKAGE)
        return f"nginx {nginx}, {_PACKAGE} {package}"

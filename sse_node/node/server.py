"""One process of a node: what starts, drains and stops in which order."""

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from sse_node.config.sections import Settings
from sse_node.http.connection import HttpConnection
from sse_node.http.listener import address_of, listen, remove_socket
from sse_node.lifetimes.background_task import BackgroundTask
from sse_node.lifetimes.periodic import Periodic
from sse_node.logs.stderr import flush_lines
from sse_node.node.admin import AdminListener
from sse_node.node.composition import Node
from sse_node.node.control import ControlChannel, WorkerConfig, WorkerState
from sse_node.node.listening import adopt_listener, make_listener
from sse_node.node.memory_return import MemoryReturn
from sse_node.node.reload import apply_settings
from sse_node.redis.shard_count import if_redis_answers
from sse_node.streams.drain import drain

_LOOK_S = 1.0
_STALL_S = 1.0  # arbitrary
# What a drain leaves of its time for the last bytes and for closing Redis.
_STOP_RESERVE_S = 2.0
_CLEANS_UP = sys.version_info >= (3, 13)

logger = logging.getLogger(__name__)


class Server:
    """The server in one process of a node: start, drain and stop order; lives until `shutdown`.

    Args:
        settings: frozen.
        redis_url: where Redis is; the settings may have left that to a private one.
        config: of a worker; None for a node of one process.
        control: a worker's channel to its supervisor.
        given: the socket to listen on that the service manager has opened; it is not removed.
    """

    def __init__(
        self,
        settings: Settings,
        redis_url: str,
        config: WorkerConfig | None = None,
        control: ControlChannel | None = None,
        given: socket.socket | None = None,
    ) -> None:
        self._settings = settings
        self._config = config
        self._control = control
        self._given = given
        self._listener: asyncio.Server | None = None
        self._socket_inode = 0
        self._serving: asyncio.Task[None] | None = None
        self._peers_restart = BackgroundTask(self._start_peers)
        self._second = Periodic(_LOOK_S, self._on_second)
        self._memory = MemoryReturn()
        self.node = Node(settings, redis_url, config)
        descriptor = config.descriptors.admin if config else -1
        self._admin = AdminListener(self.node.admin_site, settings.access, descriptor)

    # Start

    async def start(self, stop_asked: asyncio.Future[signal.Signals] | None = None) -> str:
        """Start everything; return the address that is listened on, for people.

        Args:
            stop_asked: a worker that waits for Redis before it listens waits no longer than this.

        Raises:
            ConfigError: the address cannot be listened on.
            ShardCountError: Redis has the data of another number of shards.
        """
        await if_redis_answers(self.node.check_shards)
        listener = self._make_socket()
        await self._admin.start()
        self.node.gate.start()
        self.node.streams.start()
        self.node.sentinel_watch.start()
        self.node.subscriptions.start()
        for shard in self.node.shards:
            shard.check.start()
        for jobs in self.node.snapshot_jobs:
            jobs.start()
        self._second.start()
        if self._config is not None:
            self._serving = asyncio.create_task(self.node.shards.wait_usable())
            await asyncio.wait(
                (self._serving, stop_asked) if stop_asked else (self._serving,),
                timeout=self._config.redis_wait_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
        await self._start_peers()  # from now on other workers query this one
        await self._listen(listener)
        self._report(WorkerState.LISTENING)
        if self._serving is not None:
            self._serving.add_done_callback(self._on_serving)
        return address_of(listener)

    async def _start_peers(self) -> None:
        if self.node.status is not None:
            await self.node.status.peers.start()

    def _on_serving(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self._report(WorkerState.SERVING)

    def _report(self, state: WorkerState) -> None:
        if self._control is not None:
            self._control.send(state.name.lower())

    async def _listen(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        make_connection = lambda: HttpConnection(self.node.site)  # noqa: E731
        backlog = self._settings.listen.backlog
        if listener.family == socket.AF_UNIX:
            self.node.streams.send_buffer_bytes = 0  # keep the kernel's: a proxy reads
            # Else event loops of Python 3.13 remove the socket of all workers when one closes it.
            options: dict[str, Any] = {"cleanup_socket": False} if _CLEANS_UP else {}
            self._listener = await loop.create_unix_server(
                make_connection, sock=listener, backlog=backlog, **options
            )
        else:
            if (
                self._config is None and self._given is None
            ):  # another node may have bound the address at the same time
                listen(listener, backlog)
            self._listener = await loop.create_server(
                make_connection, sock=listener, backlog=backlog
            )

    def _make_socket(self) -> socket.socket:
        if self._config is not None:
            return socket.socket(fileno=self._config.descriptors.listener)
        if self._given is not None:
            adopt_listener(self._given, self._settings.listen)
            return self._given
        listener = make_listener(self._settings.listen)
        if self._settings.listen.uds:
            self._socket_inode = Path(self._settings.listen.uds).stat().st_ino
        return listener

    def reload(self, settings: Settings) -> None:
        """Change to settings that differ in those that can change without a restart."""
        apply_settings(self.node, self._settings, settings)
        self._settings = settings

    def add_crashes(self, count: int) -> None:
        """Add `count` crashed workers to the node's total."""
        if self.node.status is not None:
            self.node.status.add_crashes(count)

    def _on_second(self) -> None:
        flush_lines()
        now = asyncio.get_running_loop().time()
        self.node.shards.look()
        self.node.streams.admission.look(len(self.node.streams), now)
        # After a stall of this process, what clients sent in time is only read after this call.
        if self._second.lag_s < _STALL_S:
            self.node.site.close_overdue(now)
            self.node.admin_site.close_overdue(now)
        backlog = self.node.site.backlog
        waiting_bytes = backlog.held_bytes + self.node.slow_clients.waiting_bytes
        self._memory.look(waiting_bytes, backlog.take_peak())
        if self.node.status is not None and self.node.status.peers.is_lost:
            logger.warning("the socket for the other workers was deleted; making it again")
            self._peers_restart.start()

    # Stop

    async def drain(
        self, *, delay_s: float, at_once: asyncio.Event, node_leaves: bool = True
    ) -> None:
        """Stop in order: not ready, then no listener, then no streams, then no requests.

        Args:
            delay_s: for the balancer to notice, and for answers to announce that their connection
                closes: a connection closed under a request would look like a failure.
            at_once: ends the delay when it is set.
            node_leaves: False when another worker takes this one's connections: the node is ready.
        """
        settings = self._settings
        loop = asyncio.get_running_loop()
        end = loop.time() + settings.node.timeout_graceful_shutdown - _STOP_RESERVE_S
        self.node.is_leaving = node_leaves
        self.node.site.draining = True
        self.node.streams.serving = False
        logger.info("draining %d streams", len(self.node.streams))
        self._report(WorkerState.DRAINING)
        if not node_leaves:
            self._close_listener()
        if node_leaves or len(self.node.streams) or self.node.site.connections:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(delay_s, max(0.0, end - loop.time()))):
                    await at_once.wait()
        self._close_listener()
        wanted_s = len(self.node.streams) / settings.node.drain_rate
        await drain(self.node.streams, self.node.retry, min(wanted_s, max(0.0, end - loop.time())))
        self.node.site.close_idle()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(end):
                await self.node.streams.wait_closed()
                await self.node.site.wait_closed()

    def _close_listener(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def shutdown(self) -> None:
        """Stop everything that is still running."""
        self._close_listener()
        if self._serving is not None:
            self._serving.cancel()
        self._admin.shutdown()
        await self._peers_restart.shutdown()
        if self.node.status is not None:
            await self.node.status.peers.shutdown()
        self._second.shutdown()
        await asyncio.gather(*(jobs.shutdown() for jobs in self.node.snapshot_jobs))
        await asyncio.gather(*(shard.check.shutdown() for shard in self.node.shards))
        await self.node.server_checks_task.shutdown()
        await self.node.server_figures_task.shutdown()
        await self.node.subscriptions.shutdown()
        await self.node.sentinel_watch.shutdown()
        for shard in self.node.shards:
            await shard.replay.shutdown()
        await self.node.gate.shutdown()
        self.node.streams.shutdown()
        for connection in list(self.node.site.connections):
            connection.abort()
        await asyncio.sleep(0)  # lets connections see that they are lost
        await self.node.connections.shutdown()
        await self.node.job_reader.shutdown()
        if self._socket_inode:
            remove_socket(self._settings.listen.uds, self._socket_inode)

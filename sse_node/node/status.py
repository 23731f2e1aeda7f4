"""`/status` and `/metrics` of a node with several workers: any worker answers for all of them."""

import contextlib
from array import array
from collections.abc import Callable, Iterable, Iterator
from time import monotonic
from typing import Any, TypeVar

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from sse_node.node.control import WorkerConfig
from sse_node.node.peers import Peers
from sse_node.wire.http_head import NO_STORE, Request, Response, json_response
from sse_node.wire.prometheus import CONTENT_TYPE, PackedFamily, expose, pack, unpack

_STATUS = b"status"
_METRICS = b"metrics"


class _Status(msgspec.Struct):
    figures: dict[str, Any]
    users: bytes
    """A hash of each user that has a stream, eight bytes each."""


class _Metrics(msgspec.Struct):
    worker: str
    """The worker's number, so that replacements make no new time series."""
    crashes: int
    families: list[PackedFamily]


_Answer = TypeVar("_Answer")
_decode_status = msgspec.msgpack.Decoder(_Status).decode
_decode_metrics = msgspec.msgpack.Decoder(_Metrics).decode


class NodeStatus:
    """The resources `/status` and `/metrics` of all workers; lives as long as the worker.

    Args:
        config: of this worker.
        figures: returns what this worker alone would answer for `/status`.
        users: returns the users that have a stream here.
        families: returns this worker's metrics.
    """

    def __init__(
        self,
        config: WorkerConfig,
        *,
        figures: Callable[[], dict[str, Any]],
        users: Callable[[], Iterable[str]],
        families: Callable[[], Iterable[Metric]],
    ) -> None:
        self._config = config
        self._figures = figures
        self._users = users
        self._families = families
        self._crashes = config.crashes
        self.peers = Peers(
            config.socket_path, {_STATUS: self._own_status, _METRICS: self._own_metrics}
        )

    def add_crashes(self, count: int) -> None:
        """Add `count` crashed workers to the total."""
        self._crashes += count

    def _own_status(self) -> bytes:
        # The supervisor gives all workers one PYTHONHASHSEED, so that equal users are equal here.
        users = array("q", map(hash, self._users())).tobytes()
        return msgspec.msgpack.encode(_Status(self._figures(), users))

    def _own_metrics(self) -> bytes:
        families = pack(self._families())
        # While one drains, its replacement has the same number.
        suffix = "-draining" if self._figures()["draining"] else ""
        worker = f"{self._config.number}{suffix}"
        return msgspec.msgpack.encode(_Metrics(worker, self._crashes, families))

    async def status(self, request: Request) -> Response:
        """Answer `GET /status` for the whole node; a user with streams on two workers is one."""
        answers = list(_whole(await self.peers.query(_STATUS), _decode_status))
        workers = [answer.figures for answer in answers]
        staying = [worker for worker in workers if not worker["draining"]]
        users: set[int] = set()
        for answer in answers:
            hashes = array("q")
            hashes.frombytes(answer.users[: len(answer.users) // hashes.itemsize * hashes.itemsize])
            users.update(hashes)
        return json_response(
            200,
            {
                **workers[0],
                "connectedUsers": len(users),
                "activeStreams": sum(worker["activeStreams"] for worker in workers),
                "maxStreams": sum(worker["maxStreams"] for worker in staying or workers),
                "redisConnected": all(worker["redisConnected"] for worker in staying or workers),
                "draining": not staying,
                "uptime_s": round(monotonic() - self._config.started, 3),
                "workers": workers,
            },
        )

    async def metrics(self, request: Request) -> Response:
        """Answer `GET /metrics` for the whole node; each sample has the number of its worker."""
        answers = list(_whole(await self.peers.query(_METRICS), _decode_metrics))
        families = unpack({answer.worker: answer.families for answer in answers})
        families += [
            GaugeMetricFamily("sse_node_workers", "Workers that answer.", len(answers)),
            CounterMetricFamily(
                "sse_node_worker_crashes",
                "Workers that ended unasked.",
                max(answer.crashes for answer in answers),
            ),
        ]
        return Response(200, ((b"Content-Type", CONTENT_TYPE), NO_STORE), expose(families))


def _whole(answers: Iterable[bytes], decode: Callable[[bytes], _Answer]) -> Iterator[_Answer]:
    """Skip answers that are truncated or come from an incompatible version of the worker."""
    for answer in answers:
        with contextlib.suppress(msgspec.MsgspecError):
            yield decode(answer)

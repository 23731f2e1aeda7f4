"""`/status` and `/metrics` of a node with several workers."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families

from sse_node.node.control import Descriptors, WorkerConfig
from sse_node.node.peers import Peers
from sse_node.node.status import NodeStatus
from sse_node.wire.http_head import Request

REQUEST = Request("GET", "/", "", {})


def config_in(directory: Path, number: int, crashes: int) -> WorkerConfig:
    return WorkerConfig(
        number=number,
        descriptors=Descriptors(),
        directory=str(directory),
        redis_url="",
        started=monotonic() - 100,
        redis_wait_s=0.0,
        crashes=crashes,
    )


def figures(
    streams: int, *, redis_connected: bool = True, draining: bool = False
) -> dict[str, Any]:
    return {
        "serverId": "node-1",
        "pid": streams,
        "connectedUsers": 1,
        "activeStreams": streams,
        "maxStreams": 10,
        "redisConnected": redis_connected,
        "draining": draining,
        "uptime_s": 1.0,
    }


@pytest.fixture
async def start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[..., Awaitable[NodeStatus]]]:
    """Start workers, each as if it had a process of its own."""
    started: list[NodeStatus] = []

    async def start(
        streams: int, users: list[str], *, crashes: int = 0, **state: bool
    ) -> NodeStatus:
        def families() -> list[Metric]:
            return [GaugeMetricFamily("sse_node_streams", "Streams.", value=streams)]

        monkeypatch.setattr(os, "getpid", lambda: 1000 + streams)
        workers = NodeStatus(
            config_in(tmp_path, streams, crashes),
            figures=lambda: figures(streams, **state),
            users=lambda: users,
            families=families,
        )
        monkeypatch.undo()
        await workers.peers.start()
        started.append(workers)
        return workers

    yield start
    for workers in started:
        await workers.peers.shutdown()


async def status(workers: NodeStatus) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads((await workers.status(REQUEST)).content)
    return answer


async def metrics(workers: NodeStatus) -> dict[str, dict[str, float]]:
    """Return samples by name and worker."""
    response = await workers.metrics(REQUEST)
    assert response.status == 200
    values: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(response.content.decode()):
        for sample in family.samples:
            values.setdefault(sample.name, {})[sample.labels.get("worker", "")] = sample.value
    return values


async def test_status_is_of_the_whole_node(start: Callable[..., Awaitable[NodeStatus]]) -> None:
    one = await start(3, ["a", "b"])
    await start(5, ["b", "c", "d"], redis_connected=False)
    answer = await status(one)
    assert 100 <= answer.pop("uptime_s") < 110
    assert answer.pop("workers") == [figures(3), figures(5, redis_connected=False)]
    assert answer == {
        "serverId": "node-1",
        "pid": 3,
        "connectedUsers": 4,
        "activeStreams": 8,
        "maxStreams": 20,
        "redisConnected": False,
        "draining": False,
    }


async def test_a_worker_that_drains_has_streams_and_room_for_none(
    start: Callable[..., Awaitable[NodeStatus]],
) -> None:
    draining = await start(3, [], draining=True, redis_connected=False)
    alone = await status(draining)
    assert (alone["draining"], alone["maxStreams"], alone["redisConnected"]) == (True, 10, False)
    await start(5, [])
    both = await status(draining)
    assert (both["draining"], both["maxStreams"], both["redisConnected"]) == (False, 10, True)
    assert both["activeStreams"] == 8


async def test_a_worker_alone_answers_for_the_node(
    start: Callable[..., Awaitable[NodeStatus]],
) -> None:
    answer = await status(await start(0, []))
    assert (answer["connectedUsers"], answer["activeStreams"]) == (0, 0)
    assert len(answer["workers"]) == 1


async def test_metrics_are_of_every_worker(start: Callable[..., Awaitable[NodeStatus]]) -> None:
    one = await start(3, [], crashes=1)
    await start(5, [], crashes=2)
    values = await metrics(one)
    assert values["sse_node_streams"] == {"3": 3, "5": 5}
    assert values["sse_node_workers"] == {"": 2}
    assert values["sse_node_worker_crashes_total"] == {"": 2}


async def test_a_draining_worker_and_its_replacement_have_series_of_their_own(
    start: Callable[..., Awaitable[NodeStatus]],
) -> None:
    one = await start(3, [])
    await start(4, [], draining=True)
    assert (await metrics(one))["sse_node_streams"] == {"3": 3, "4-draining": 4}


async def test_crashes_are_counted_while_a_worker_lives(
    start: Callable[..., Awaitable[NodeStatus]],
) -> None:
    one = await start(3, [], crashes=1)
    one.add_crashes(2)
    assert (await metrics(one))["sse_node_worker_crashes_total"] == {"": 3}


async def test_an_answer_that_is_not_whole_is_left_out(
    start: Callable[..., Awaitable[NodeStatus]], tmp_path: Path
) -> None:
    one = await start(3, ["a"])
    broken = Peers(
        tmp_path / "2.sock", {b"status": lambda: b"\x82", b"metrics": lambda: b'"other"'}
    )
    await broken.start()
    assert (await status(one))["activeStreams"] == 3
    assert (await metrics(one))["sse_node_workers"] == {"": 1}
    await broken.shutdown()

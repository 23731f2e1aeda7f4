"""The client for Python against real nodes: killed, drained, silent, full, and with tokens."""

from __future__ import annotations

import asyncio
import itertools
import signal
import threading
import time
from typing import TYPE_CHECKING

import httpx
import pytest

from sse_node.client import Event, ResetError, StreamClosedError, events
from tests.support.nodes import active_streams, client_of, wait_until
from tests.support.tokens import SECRET, signer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.harness import NodeProcess, RedisProcess
    from tests.support.nodes import StartNode

pytestmark = pytest.mark.integration

SOON = {"retry_s": 0.05, "max_retry_s": 0.2}
FLAGS = ("--retry", "50", "--ping-interval", "0.3", "--drain-delay", "0")
TOKEN = signer("HS256")


class Reader:
    """Reads a stream in a thread, by the sync or the async form."""

    def __init__(self, form: str, url: str, **options: object) -> None:
        self.source = events(url, ping_interval_s=0.3, **(SOON | options))  # type: ignore[arg-type]
        self.events: list[Event] = []
        self.error: Exception | None = None
        self._form = form
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            if self._form == "async":
                asyncio.run(self._read())
            else:
                for event in self.source:
                    if self._take(event):
                        return
        except Exception as error:
            self.error = error

    async def _read(self) -> None:
        async for event in self.source:
            if self._take(event):
                return

    def _take(self, event: Event) -> bool:
        self.events.append(event)
        return self._is_over.is_set() or event.type == "the.end"

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over.set()

    def wait_for(self, count: int) -> list[Event]:
        wait_until(lambda: len(self.events) >= count, f"{count} events")
        return self.events

    def wait_for_error(self) -> Exception:
        wait_until(lambda: self.error is not None, "an error")
        assert self.error is not None
        return self.error

    def join(self) -> None:
        self._thread.join(10)
        assert not self._thread.is_alive()


@pytest.fixture(params=["async", "sync"])
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def publish(http: httpx.Client, user: str, *numbers: int, event_type: str = "t") -> None:
    events = [{"userId": user, "eventType": event_type, "data": {"n": n}} for n in numbers]
    http.post("/events", json=events).raise_for_status()


def numbers(reader: Reader) -> list[int]:
    return [event.data["n"] for event in reader.events if event.type == "t"]


@pytest.fixture
def own_node(start_node: StartNode, redis: RedisProcess) -> NodeProcess:
    return start_node(*FLAGS, redis=redis)


@pytest.fixture
def own_http(own_node: NodeProcess) -> Iterator[httpx.Client]:
    with client_of(own_node) as client:
        yield client


def test_events_come_with_their_type_and_the_stream_ends_with_the_loop(
    form: str, own_node: NodeProcess, own_http: httpx.Client, user: str
) -> None:
    with Reader(form, f"{own_node.url}/events/sse/{user}") as reader:
        wait_until(lambda: active_streams(own_http) == 1, "a stream")
        publish(own_http, user, 1, 2)
        first, second = reader.wait_for(2)
        assert (first.type, first.data) == ("t", {"eventType": "t", "n": 1})
        assert reader.source.last_event_id == second.id
        publish(own_http, user, 3, event_type="the.end")
        reader.join()
    wait_until(lambda: active_streams(own_http) == 0, "no stream")


def test_nothing_is_lost_or_doubled_when_a_node_is_killed_and_comes_back(
    form: str, start_node: StartNode, redis: RedisProcess, own_http: httpx.Client, user: str
) -> None:
    node = start_node(*FLAGS, redis=redis, server_id="node-2")
    flags = (*FLAGS, "--port", str(node.port))
    counter = itertools.count(1)
    with Reader(form, f"{node.url}/events/sse/{user}") as reader, client_of(node) as http:
        wait_until(lambda: active_streams(http) == 1, "a stream")
        publish(own_http, user, next(counter))
        reader.wait_for(1)
        for stop in (signal.SIGKILL, signal.SIGTERM):
            node.send_signal(stop)
            node.wait(10)
            publish(own_http, user, next(counter), next(counter))
            node = start_node(*flags, redis=redis, server_id="node-2")
            publish(own_http, user, next(counter))
            last = next(counter) - 1
            counter = itertools.count(last + 1)
            wait_until(lambda last=last: len(numbers(reader)) >= last, "all events")  # type: ignore[misc]
        assert numbers(reader) == list(range(1, last + 1))
        assert {event.type for event in reader.events} == {"t"}


def test_a_node_that_is_silent_is_left_and_nothing_is_lost(
    form: str, own_node: NodeProcess, own_http: httpx.Client, start_node: StartNode,
    redis: RedisProcess, user: str,
) -> None:  # fmt: skip
    other = start_node(*FLAGS, redis=redis, server_id="node-2")
    with Reader(form, f"{other.url}/events/sse/{user}") as reader, client_of(other) as http:
        wait_until(lambda: active_streams(http) == 1, "a stream")
        other.send_signal(signal.SIGSTOP)
        publish(own_http, user, 1)
        stopped_s = time.monotonic()
        # It asks again: the kernel accepts while the process is stopped.
        wait_until(lambda: time.monotonic() - stopped_s > 1.0, "silence")
        other.send_signal(signal.SIGCONT)
        reader.wait_for(1)
        publish(own_http, user, 2)
        wait_until(lambda: len(numbers(reader)) == 2, "both events")
        assert numbers(reader) == [1, 2]


def test_what_the_log_does_not_have_is_a_reset(
    form: str, own_node: NodeProcess, own_http: httpx.Client, user: str
) -> None:
    url = f"{own_node.url}/events/sse/{user}"
    with Reader(form, url, last_event_id="1-0") as reader:
        assert reader.wait_for(1)[0].type == "sse.reset"
        publish(own_http, user, 1)
        reader.wait_for(2)
    with Reader(form, url, last_event_id="1-0", raise_resets=True) as reader:
        error = reader.wait_for_error()
        assert isinstance(error, ResetError)
        assert error.reason == "trimmed"


def test_a_refusal_is_tried_again_until_there_is_room(
    form: str, start_node: StartNode, redis: RedisProcess, user: str
) -> None:
    node = start_node(*FLAGS, "--max-streams", "1", redis=redis)
    url = f"{node.url}/events/sse/{user}"
    with client_of(node) as http, Reader(form, url) as first:
        wait_until(lambda: active_streams(http) == 1, "a stream")
        with Reader(form, url) as second:
            publish(http, user, 1, event_type="the.end")
            first.join()
            wait_until(lambda: active_streams(http) == 0 or second.events != [], "room")
            wait_until(lambda: active_streams(http) == 1, "the other stream")
            publish(http, user, 2)
            second.wait_for(1)


def test_tokens_are_renewed_when_they_expire(
    form: str, start_node: StartNode, redis: RedisProcess, tmp_path: Path, user: str
) -> None:
    (tmp_path / "secret").write_bytes(SECRET)
    flags = ("--auth", "jwt", "--jwt-key", str(tmp_path / "secret"))
    node = start_node(*FLAGS, *flags, redis=redis)
    asked: list[bool] = []

    def token(was_refused: bool) -> str:
        asked.append(was_refused)
        return TOKEN.token(user, exp=int(time.time()) + (1 if len(asked) == 1 else 60))

    headers = {"Authorization": f"Bearer {TOKEN.token(user, publish=['user:*'])}"}
    with (
        httpx.Client(base_url=node.url, headers=headers, timeout=10) as http,
        Reader(form, f"{node.url}/events/sse", token=token) as reader,
    ):
        publish(http, user, 1)
        wait_until(lambda: len(asked) > 1, "another token")
        publish(http, user, 2)
        wait_until(lambda: 2 in numbers(reader), "an event after it")
        assert asked[:2] == [False, True]
    with Reader(form, f"{node.url}/events/sse", token="a.b.c") as reader:
        error = reader.wait_for_error()
        assert isinstance(error, StreamClosedError)
        assert error.reason == "unauthorized"


def test_one_process_reads_many_streams(own_node: NodeProcess, own_http: httpx.Client) -> None:
    async def read(number: int) -> int:
        async for event in events(f"{own_node.url}/events/sse/reader-{number}"):
            return int(event.data["n"])
        raise AssertionError("the stream has ended")

    async def read_all() -> list[int]:
        tasks = [asyncio.create_task(read(number)) for number in range(50)]
        await asyncio.to_thread(wait_until, lambda: active_streams(own_http) == 50, "all streams")
        for number in range(50):
            publish(own_http, f"reader-{number}", number)
        return await asyncio.gather(*tasks)

    assert asyncio.run(read_all()) == list(range(50))

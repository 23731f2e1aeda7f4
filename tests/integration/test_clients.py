"""Clients that others wrote read the streams, and come back after the node was gone."""

from __future__ import annotations

import json
import os
import select
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import httpx
import pytest
from httpx_sse import connect_sse

from bench.harness import NodeProcess
from tests.support.event_stream_parser import parse_event_stream
from tests.support.nodes import active_streams, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

    from bench.harness import RedisProcess

pytestmark = pytest.mark.integration

HERE = Path(__file__).parent
TEXT = "å\u2028😀"


def publish(http: httpx.Client, user: str, *numbers: int) -> list[str]:
    """Publish an event with each number; return their ids."""
    events = [
        {"userId": user, "eventType": "tick", "data": {"number": number, "text": TEXT}}
        for number in numbers
    ]
    ids: list[str] = http.post("/events", json=events).raise_for_status().json()["ids"]
    return ids


class Program:
    """A program that prints what it reads from a stream; ended with its `with` block."""

    def __init__(self, *command: str | Path) -> None:
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self._stdout = self._process.stdout
        self._output = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._stdout.close()

    def output(self) -> bytes:
        """All that it has printed so far."""
        while select.select([self._stdout], [], [], 0)[0]:
            data = os.read(self._stdout.fileno(), 65536)
            assert data, f"the program has ended; it printed {self._output[-1000:]!r}"
            self._output += data
        return self._output


# Those that come back by themselves


class EventSource(Protocol):
    """A third party's EventSource, which keeps a list of what it is told."""

    def told(self) -> list[dict[str, Any]]:
        """Objects with `type`; events of the stream with data and ID, errors with readyState."""


class NpmEventSource:
    """The npm package eventsource in Node.js."""

    def __init__(self, program: Program) -> None:
        self._program = program

    def told(self) -> list[dict[str, Any]]:
        whole_lines = self._program.output().rpartition(b"\n")[0]
        return [json.loads(line) for line in whole_lines.split(b"\n") if line]


class BrowserEventSource:
    """Chromium's own."""

    START = """([url, names]) => {
      window.told = [];
      const source = new EventSource(url);
      for (const name of ["message", ...names]) {
        source.addEventListener(name, ({ type, data, lastEventId }) =>
          told.push({ type, data, lastEventId }));
      }
      source.addEventListener("open", () => told.push({ type: "open" }));
      source.addEventListener("error", () =>
        told.push({ type: "error", readyState: source.readyState }));
    }"""

    def __init__(self, page: Page, url: str, names: list[str]) -> None:
        self._page = page
        page.evaluate(self.START, [url, names])

    def told(self) -> list[dict[str, Any]]:
        told: list[dict[str, Any]] = self._page.evaluate("told")
        return told


@pytest.fixture
def own_node(redis: RedisProcess) -> Iterator[NodeProcess]:
    """A node whose clients come back at once, and whose events have names."""
    quick = ("--retry", "100", "--ping-interval", "0.3", "--drain-delay", "0")
    own = ("--redis-url", redis.url, "--server-id", "node-3", "--event-names", "yes")
    with NodeProcess(*own, *quick) as process:
        process.wait_ready()
        yield process


@pytest.fixture(params=["npm", pytest.param("chromium", marks=pytest.mark.browser)])
def event_source(
    request: pytest.FixtureRequest, own_node: NodeProcess, user: str
) -> Iterator[EventSource]:
    url = f"{own_node.url}/events/sse/{user}"
    names = ["sse.open", "sse.reset", "ping", "tick"]
    if request.param == "npm":
        with Program("node", HERE / "read_stream.mjs", url, *names) as program:
            yield NpmEventSource(program)
    else:
        browser: Browser = request.getfixturevalue("browser")
        page = browser.new_page()
        page.goto(f"{own_node.url}/health/live")
        yield BrowserEventSource(page, url, names)
        page.close()


def of_type(event_source: EventSource, event_type: str) -> list[dict[str, Any]]:
    return [event for event in event_source.told() if event["type"] == event_type]


def numbers(event_source: EventSource) -> list[int]:
    return [json.loads(event["data"])["number"] for event in of_type(event_source, "tick")]


@pytest.mark.parametrize("how", ["terminate", "kill"])
def test_event_source_resumes_where_the_node_left_it(
    event_source: EventSource, own_node: NodeProcess, http: httpx.Client, user: str, how: str
) -> None:
    wait_until(lambda: len(of_type(event_source, "sse.open")) == 1, "the stream is open")
    ids = publish(http, user, 0, 1)  # by way of another node
    wait_until(lambda: numbers(event_source) == [0, 1], "the first events")
    wait_until(lambda: bool(of_type(event_source, "ping")), "a ping")
    getattr(own_node, how)()
    ids += publish(http, user, 2, 3, 4)
    own_node.start()
    wait_until(lambda: len(numbers(event_source)) >= 5, "what was missed")
    ids += publish(http, user, 5)
    wait_until(lambda: 5 in numbers(event_source), "what comes after")

    assert numbers(event_source) == [0, 1, 2, 3, 4, 5]
    ticks = of_type(event_source, "tick")
    assert [tick["lastEventId"] for tick in ticks] == ids
    assert {json.loads(tick["data"])["text"] for tick in ticks} == {TEXT}
    first, *_, last = (json.loads(event["data"]) for event in of_type(event_source, "sse.open"))
    assert first == {"serverId": "node-3", "resumed": False, "replayed": 0}
    assert last == {"serverId": "node-3", "resumed": True, "replayed": 3}
    assert len(of_type(event_source, "open")) >= 2
    assert of_type(event_source, "sse.reset") == []
    assert {error["readyState"] for error in of_type(event_source, "error")} == {0}  # CONNECTING


# Those that read one stream


def test_httpx_sse(node: NodeProcess, http: httpx.Client, user: str) -> None:
    url = f"{node.url}/events/sse/{user}"
    with httpx.Client() as client:
        with connect_sse(client, "GET", url) as source:
            events = source.iter_sse()
            opening = next(events)
            assert opening.event == "sse.open"
            assert opening.retry is not None
            ids = publish(http, user, 1, 2, 3)
            read = [next(event for event in events if event.event != "ping") for _ in range(2)]
            ping = next(event for event in events if event.event == "ping")
        assert [event.json()["number"] for event in read] == [1, 2]
        assert [event.id for event in read] == ids[:2]
        assert read[0].json()["text"] == TEXT
        assert ping.json()["serverId"] == "node-1"
        with connect_sse(client, "GET", url, headers={"Last-Event-ID": read[1].id}) as source:
            resumed = source.iter_sse()
            assert next(resumed).json()["resumed"] is True
            assert next(resumed).id == ids[2]


def test_curl(node: NodeProcess, http: httpx.Client, user: str) -> None:
    url = f"{node.url}/events/sse/{user}"
    with Program("curl", "--silent", "--no-buffer", url) as curl:
        wait_until(lambda: b"sse.open" in curl.output(), "the stream is open")
        ids = publish(http, user, 1, 2)
        wait_until(lambda: b'"number":2' in curl.output(), "both events")
        output = curl.output()
    whole_frames = output[: output.rindex(b"\n\n") + 2]
    ticks = [e for e in parse_event_stream(whole_frames).events if e.type == "message"]
    assert [event.last_event_id for event in ticks] == ids
    again = ("--header", f"Last-Event-ID: {ids[0]}")
    with Program("curl", "--silent", "--no-buffer", "--http1.0", *again, url) as curl:
        wait_until(lambda: b'"number":2' in curl.output(), "the second event again")
        assert b'"number":1' not in curl.output()


def test_curl_that_is_ended_is_gone(own_node: NodeProcess, user: str) -> None:
    with httpx.Client(base_url=own_node.url) as http:
        with Program("curl", "--silent", f"{own_node.url}/events/sse/{user}"):
            wait_until(lambda: active_streams(http) == 1, "its stream is open")
        wait_until(lambda: active_streams(http) == 0, "its stream is gone", timeout_s=2)

"""The steps of docs/migrating-from-nestjs.md, with a real NestJS, in a real Chromium."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING

import httpx
import pytest
from redis import Redis

from bench.harness import ROOT, NginxProcess, RedisProcess
from bench.targets.redis_peers import ListeningProcess, NestJs
from tests.support.browsers import bundle
from tests.support.nodes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bench.harness import NodeProcess
    from tests.support.browsers import Profile, Tab
    from tests.support.nodes import StartNode

pytestmark = [pytest.mark.integration, pytest.mark.browser]

GUIDE = (ROOT / "docs/migrating-from-nestjs.md").read_text("utf-8")
FRONT_END = ROOT / "tests/integration/nestjs_front_end"

# Next.js' rewrite of /api. NestJS of the benchmark has a user in the path.
REWRITES = """
        location = /api/events/sse { %s }
        location /api/ { rewrite ^/api/(.*)$ /$1 last; }
        location = /page { default_type text/html; return 200 "<!doctype html><div id=root>"; }
        location = /favicon.ico { return 204; }
"""
TO_NESTJS = "proxy_buffering off; proxy_pass http://nestjs/events/sse/123;"
TO_THE_NODES = "rewrite ^ /events/sse last;"

PAGE = """
import { createElement } from "react";
import { createRoot } from "react-dom/client";
import { Snapshots } from "./snapshots";
createRoot(document.getElementById("root")).render(createElement(Snapshots));
"""

SHOWN = "[...document.querySelectorAll('li')].map(item => item.textContent)"


def apply_guide(folder: Path, file: str) -> None:
    """Make the changes of the guide to a file and those that are shown with it."""
    shown = re.findall(r"^```diff\n(--- a/.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    (diff,) = [each for each in shown if f"--- a/{file}\n" in each]
    command = ("git", "apply", "--unsafe-paths", "-")
    subprocess.run(command, cwd=folder, input=diff, text=True, check=True)


def copy_front_end(folder: Path) -> Path:
    subprocess.run(["cp", "-r", FRONT_END, folder], check=True)
    copied = folder / FRONT_END.name
    (copied / "node_modules/@sse-node").mkdir(parents=True)
    (copied / "node_modules/@sse-node/client").symlink_to(ROOT / "client")
    return copied


@pytest.fixture(scope="session")
def pages(client_package: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The scripts of the front end, as it was and with the changes of the guide."""
    scripts = {}
    for name in ("old", "new"):
        folder = copy_front_end(tmp_path_factory.mktemp(name))
        if name == "new":
            apply_guide(folder, "snapshots.tsx")
            assert not (folder / "hooks/useEvents.ts").exists()
            check_types(folder)
        scripts[name] = bundle(PAGE, folder)
    return scripts


def check_types(folder: Path) -> None:
    for name in ("react", "@types"):
        (folder / "node_modules" / name).symlink_to(ROOT / "client/node_modules" / name)
    flags = "--noEmit --strict --target es2022 --module esnext --moduleResolution bundler"
    libraries = "--jsx react-jsx --lib es2022,dom --types react"
    tsc = str(ROOT / "client/node_modules/.bin/tsc")
    done = subprocess.run(
        [tsc, "snapshots.tsx", *flags.split(), *libraries.split()],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    (folder / "node_modules/react").unlink()  # the bundle has the package's, once


@pytest.fixture
def own_redis() -> Iterator[RedisProcess]:
    with RedisProcess() as process:
        yield process


@pytest.fixture
def nestjs(own_redis: RedisProcess) -> Iterator[ListeningProcess]:
    """The service that is replaced."""
    assert NestJs.missing() == ""
    environment = {"REDIS_URL": own_redis.url, "NODE_ENV": "production"}
    with ListeningProcess("nestjs", NestJs.command, environment, None) as process:
        yield process


@pytest.fixture
def start_nginx(
    nestjs: ListeningProcess, tmp_path: Path
) -> Iterator[Callable[[NodeProcess, str], str]]:
    """Start nginx as in step 2 of the guide; return the address of the page."""
    started: list[NginxProcess] = []

    def start(node: NodeProcess, streams: str) -> str:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        conf = folder / "nginx.conf"
        conf.write_text((ROOT / "nginx.conf").read_text("utf-8"))
        apply_guide(folder, "nginx.conf")
        last_location = "        location @problem {"
        conf.write_text(conf.read_text().replace(last_location, REWRITES % streams + last_location))
        nginx = NginxProcess(conf, [node.address] * 2 + [f"{nestjs.host}:{nestjs.port}"])
        nginx.start()
        started.append(nginx)
        return f"{nginx.url}/page"

    yield start
    for nginx in started:
        nginx.close()


class Publisher:
    """Publishes snapshots, from both services."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._count = 0

    def publish_as_nestjs(self) -> str:
        """Publish as the replaced service does; return the line that pages show."""
        event, line = self._next("nestjs-1")
        self._redis.publish("user-events", json.dumps(event))
        return line

    def publish_on(self, node: NodeProcess) -> str:
        """Publish by `POST /events`; return the line that pages show."""
        event, line = self._next("sse-node")
        httpx.post(f"{node.url}/events", json=event).raise_for_status()
        return line

    def _next(self, server_id: str) -> tuple[dict[str, object], str]:
        self._count += 1
        data = {"snapshotCount": self._count, "serverId": server_id, "timestamp": "2025-08-26"}
        event: dict[str, object] = {"userId": "123", "eventType": "snapshots.generated"}
        return event | {"data": data}, f"{self._count} snapshots by {server_id}"


@pytest.fixture
def publisher(own_redis: RedisProcess) -> Iterator[Publisher]:
    with Redis.from_url(own_redis.url) as client:
        yield Publisher(client)


def open_page(chromium: Profile, url: str, script: str) -> Tab:
    tab = chromium.new_tab()
    tab.goto(url)
    tab.evaluate(script)
    return tab


def wait_for(tab: Tab, *lines: str) -> None:
    """Wait until the page shows these lines, each once and in this order."""
    wait_until(lambda: len(tab.evaluate(SHOWN)) >= len(lines), f"{len(lines)} lines")
    assert tab.evaluate(SHOWN) == list(lines)


def test_both_back_ends_serve_one_redis_while_the_front_end_moves(
    chromium: Profile,
    pages: dict[str, str],
    own_redis: RedisProcess,
    start_node: StartNode,
    start_nginx: Callable[[NodeProcess, str], str],
    publisher: Publisher,
) -> None:
    node = start_node("--retry", "200", redis=own_redis)
    other = start_node(redis=own_redis, server_id="node-2")
    before, during = start_nginx(node, TO_NESTJS), start_nginx(node, TO_THE_NODES)
    old = open_page(chromium, before, pages["old"])
    first = publish_until_shown(publisher, old)

    # 1. The nodes run beside NestJS: an event from either back end reaches the old stream.
    second = publisher.publish_on(node)
    wait_for(old, *first, second)

    # 2. The streams have moved, and nothing else: the old hook reads the nodes' as it is.
    moved = open_page(chromium, during, pages["old"])
    wait_until(lambda: streams_of(node) == 1, "a stream of the old hook")
    # 3. The new hook.
    new = open_page(chromium, during, pages["new"])
    wait_until(lambda: streams_of(node) == 2, "a stream of the new hook")
    third, fourth = publisher.publish_as_nestjs(), publisher.publish_on(other)
    wait_for(old, *first, second, third, fourth)
    wait_for(moved, third, fourth)
    wait_for(new, third, fourth)

    # 4. Published with ids: nothing is lost while a node is away.
    node.kill()
    fifth = publisher.publish_on(other)
    node.start()
    wait_for(new, third, fourth, fifth)
    wait_for(old, *first, second, third, fourth, fifth)


def publish_until_shown(publisher: Publisher, tab: Tab) -> list[str]:
    """Publish as NestJS does until a page shows an event; return the lines that it gets to show.

    NestJS does not say when a stream is open, so the first events may be lost.
    """
    published: list[str] = []

    def is_shown() -> bool:
        published.append(publisher.publish_as_nestjs())
        return bool(tab.evaluate(SHOWN))

    wait_until(is_shown, "an event by NestJS")
    lines = published[published.index(tab.evaluate(SHOWN)[0]) :]
    wait_for(tab, *lines)
    return lines


def streams_of(node: NodeProcess) -> int:
    count: int = node.get("/status").json()["activeStreams"]
    return count

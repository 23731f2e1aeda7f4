"""The ways to publish that README shows other languages, each run as it stands there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from redis import Redis

from tests.support.stream_client import StreamClient

if TYPE_CHECKING:
    from bench.harness import RedisProcess
    from tests.support.nodes import StartNode

HERE = Path(__file__).parent
README = (HERE.parents[1] / "README.md").read_text("utf-8")
PUBLISHING = README.partition("## Publishing from other languages")[2].partition("\n## ")[0]


def example(language: str) -> str:
    match = re.search(rf"^```{language}\n(.*?)^```", PUBLISHING, re.MULTILINE | re.DOTALL)
    assert match is not None
    return match[1]


def run(command: list[str], folder: Path, **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the script, printed as README says."""
    script = run([sys.executable, "-m", "sse_node", "script"], HERE.parents[1])
    (tmp_path / "publish.lua").write_text(script, "utf-8")
    (tmp_path / "node_modules").symlink_to(HERE / "node_modules")
    return tmp_path


def test_redis_cli(start_node: StartNode, redis: RedisProcess, folder: Path) -> None:
    node = start_node(redis=redis)
    socket_path = redis.url.removeprefix("unix://")
    with StreamClient(node.url, "/events/sse/ann") as stream:
        stream.wait_open()
        own_folder = folder / "bin"
        own_folder.mkdir()
        commands = example("sh").replace(
            "redis-cli", f"{shutil.which('redis-cli')} -s {socket_path}"
        )
        (own_folder / "sse-node").write_text(f'#!/bin/sh\nexec {sys.executable} -m sse_node "$@"\n')
        (own_folder / "sse-node").chmod(0o755)
        path = f"{own_folder}:{os.environ['PATH']}"
        printed = run(
            ["/bin/sh", "-ec", commands], folder, PATH=path, PYTHONPATH=str(HERE.parents[1])
        )
        event = stream.wait_for_type("order.paid")
        assert event.json == {"eventType": "order.paid", "order": 7}
        assert event.id == printed.strip().strip('"')


def test_node(start_node: StartNode, redis: RedisProcess, folder: Path) -> None:
    node = start_node(redis=redis)
    program = (
        example("js").replace("process.env.REDIS_URL", "process.env.REDIS_SOCKET")
        + "console.log(ids);\nawait redis.quit();\n"
    )
    (folder / "publish.mjs").write_text(program, "utf-8")
    with StreamClient(node.url, "/events/sse/ann") as stream, Redis.from_url(redis.url) as commands:
        stream.wait_open()
        length = commands.xlen("sse:log")
        printed = [
            run(
                ["node", "publish.mjs"],
                folder,
                REDIS_SOCKET=redis.url.removeprefix("unix://"),
            )
            for _ in range(2)
        ]
        event = stream.wait_for_type("order.paid")
        assert event.id == printed[0].strip() == printed[1].strip()
        assert commands.xlen("sse:log") == length + 1  # the second time nothing was published

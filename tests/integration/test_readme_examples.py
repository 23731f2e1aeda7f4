"""The commands in README, and its ways to publish from other languages, run as they stand there."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from redis import Redis

from bench.harness import RedisProcess
from tests.support.stream_client import StreamClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.nodes import StartNode

HERE = Path(__file__).parent
README = (HERE.parents[1] / "README.md").read_text("utf-8")
PUBLISHING = README.partition("## Publishing from other languages")[2].partition("\n## ")[0]


# Each command with its comments; a backslash at the end of a line continues it.
BLOCKS = [
    re.findall(r"^(?:.*\\\n)*.*\n", block, re.MULTILINE)
    for block in re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
]
CURLS = [line for block in BLOCKS for line in block if line.startswith("curl")]
OPEN = [line for line in CURLS if "Authorization" not in line]


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


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisProcess]:
    """A Redis of these tests' own: the users and ids of README are in other documents, too."""
    with RedisProcess() as process:
        yield process


@pytest.fixture
def programs(tmp_path: Path) -> str:
    """A PATH on which `sse-node` is."""
    own = tmp_path / "bin"
    own.mkdir()
    (own / "sse-node").write_text(f'#!/bin/sh\nexec {sys.executable} -m sse_node "$@"\n')
    (own / "sse-node").chmod(0o755)
    return f"{own}:{os.environ['PATH']}"


@pytest.mark.parametrize("command", OPEN)
def test_requests(command: str, start_node: StartNode, redis: RedisProcess, tmp_path: Path) -> None:
    node = start_node("--channels", "news,room:*", redis=redis)
    loud = command.replace("curl", "curl -sS --fail-with-body -w '%{stderr}%{http_code}'", 1)
    printed = run(["bash", "-c", loud.replace("localhost:3000", node.url)], tmp_path)
    promised = re.search(r"# (20\d) (.*)$", command)
    expected = set(re.findall(r'"([a-z]+)"[:,}]', promised[2])) if promised else set()
    assert expected <= set(json.loads(printed))


def test_tokens_and_keys(
    start_node: StartNode, redis: RedisProcess, programs: str, tmp_path: Path
) -> None:
    (block,) = (block for block in BLOCKS if any("sse-node serve --auth" in line for line in block))
    serve = next(line for line in block if line.startswith("sse-node serve"))
    before = [line for line in block[: block.index(serve)] if "activate" not in line]
    (token_command, read, publish) = block[block.index(serve) + 1 :]
    bash = ["bash", "-ec"]
    env = {"PATH": programs, "PYTHONPATH": str(HERE.parents[1])}
    run([*bash, "".join(before)], tmp_path, **env)
    flags = shlex.split(serve, comments=True)[2:]
    flags = [str(tmp_path / flag) if flag.endswith(".txt") else flag for flag in flags]
    node = start_node(*flags, redis=redis)
    token = run([*bash, token_command], tmp_path, **env).strip()
    key = (tmp_path / "key.txt").read_text("utf-8").splitlines()[0]
    listens = read.replace("localhost:3000", node.url).replace("TOKEN", token)
    listens = listens.replace("curl", "curl -sS --no-buffer --max-time 20", 1)
    stream = subprocess.Popen([*bash, f"exec {listens}"], stdout=subprocess.PIPE, text=True)
    assert stream.stdout is not None
    with stream:
        assert "event: sse.open\n" in iter(stream.stdout.readline, "")
        answer = publish.replace("localhost:3000", node.url).replace("KEY", key)
        assert json.loads(run([*bash, answer], tmp_path))["ids"]
        assert any("message.sent" in line for line in iter(stream.stdout.readline, ""))
        stream.kill()


def test_commands_have_the_options_that_are_named() -> None:
    (bridge,) = (line for block in BLOCKS for line in block if "sse-node bridge kafka" in line)
    words = shlex.split(bridge.partition("sse-node ")[2], comments=True)
    helped = run([sys.executable, "-m", "sse_node", *words[:2], "--help"], HERE.parents[1])
    options = [word for word in words if word.startswith("--")]
    assert options == ["--brokers", "--topic", "--group"]
    assert all(option in helped for option in options)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the script, printed as README says."""
    script = run([sys.executable, "-m", "sse_node", "script"], HERE.parents[1])
    (tmp_path / "publish.lua").write_text(script, "utf-8")
    (tmp_path / "node_modules").symlink_to(HERE / "node_modules")
    return tmp_path


def test_redis_cli(start_node: StartNode, redis: RedisProcess, folder: Path, programs: str) -> None:
    node = start_node(redis=redis)
    socket_path = redis.url.removeprefix("unix://")
    with StreamClient(node.url, "/events/sse/ann") as stream:
        stream.wait_open()
        commands = example("sh").replace(
            "redis-cli", f"{shutil.which('redis-cli')} -s {socket_path}"
        )
        printed = run(
            ["/bin/sh", "-ec", commands], folder, PATH=programs, PYTHONPATH=str(HERE.parents[1])
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

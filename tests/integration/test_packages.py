"""What is shipped: the wheel in empty environments, the image's build, the compose file."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

import httpx
import pytest
import yaml

from bench.harness import (
    ROOT,
    NodeProcess,
    RedisProcess,
    WebhooksProcess,
    environment_without_settings,
)
from tests.support.dockerfile import run_stage, stages_of
from tests.support.stream_client import StreamClient

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.integration

BIN = Path(sys.executable).parent
BUILD, IMAGE = stages_of(ROOT / "Dockerfile")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))


def run(*command: str | Path, env: Mapping[str, str] | None = None, cwd: Path = ROOT) -> str:
    """Return what a command prints; its error output is shown when it fails."""
    result = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment_without_settings() | dict(env or {}),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of what the image's build stage makes."""
    root = tmp_path_factory.mktemp("image")
    run_stage(BUILD, ROOT, root)
    return root


@pytest.fixture(scope="module")
def wheel(image: Path) -> Path:
    (wheel,) = (image / "dist").glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def program(image: Path) -> Path:
    """The program in an empty environment with the image's packages."""
    return image / "opt/sse-node/bin/sse-node"


# The wheel


def test_the_wheel_has_every_file_and_nothing_else(wheel: Path) -> None:
    package = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "sse_node").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    data = {Path(name).suffix for name in package}
    assert data == {".py", ".lua", ".js", ".css", ".html", ".typed"}
    with ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == package | {"sse_node/cli/nginx.conf"}  # the clone's, of `sse-node nginx`


def test_the_wheel_says_what_it_needs(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith("/METADATA"))
        metadata: Message = HeaderParser().parsestr(archive.read(name).decode())
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "MIT"
    extras = {"amqp", "client", "kafka", "webhooks"}
    assert set(metadata.get_all("Provides-Extra", [])) == extras


def test_it_serves_from_an_empty_environment(program: Path, tmp_path: Path) -> None:
    version = run(program, "--version", cwd=tmp_path).split()[-1]
    assert run(program, "completion", "bash", cwd=tmp_path).count("sse-node")
    node = NodeProcess()
    node.command = (str(program), "serve")
    with node:
        node.wait_ready()
        event = {"userId": "ann", "eventType": "order.paid", "data": 1}
        with StreamClient(node.url, "/events/sse/ann") as stream:
            stream.wait_open()
            httpx.post(f"{node.url}/events", json=event).raise_for_status()
            stream.wait_for_type("order.paid")
        assert "</html>" in node.get("/").text
        assert "</html>" in node.get("/docs/api").text
        assert node.get("/openapi.json").json()["info"]["version"] == version


def test_every_extra_is_in_the_image(program: Path) -> None:
    for command in (("webhooks",), ("bridge", "kafka"), ("bridge", "amqp")):
        assert "Usage:" in run(program, *command, "--help")
    modules = "aiohttp, standardwebhooks, confluent_kafka, aio_pika, httpx"
    run(program.with_name("python"), "-c", f"import {modules}; import sse_node.client")


LOCK = ROOT / "constraints-all.txt"
INSTALLERS = {
    "uv": ("uv", "tool", "install", "--constraints", LOCK),
    "pipx": ("pipx", "install", "--backend", "pip"),
}


def installed_with(python: Path) -> set[tuple[str, str]]:
    """Return names and versions of what is installed beside the node."""
    listed = json.loads(run(BIN / "uv", "pip", "list", "--python", python, "--format", "json"))
    found = {(each["name"], each["version"]) for each in listed}
    return {each for each in found if each[0] not in {"sse-node", "pip"}}


def locked() -> set[tuple[str, str]]:
    """Return names and versions in the lock."""
    pins = re.findall(r"^([\w.-]+)==(\S+)", LOCK.read_text("utf-8"), re.MULTILINE)
    return set(pins)


@pytest.mark.parametrize("installer", INSTALLERS)
def test_it_installs_as_a_tool(installer: str, wheel: Path, tmp_path: Path) -> None:
    tools, programs = str(tmp_path / "tools"), str(tmp_path / "bin")
    env = {"UV_TOOL_DIR": tools, "UV_TOOL_BIN_DIR": programs}
    env |= {"PIPX_HOME": tools, "PIPX_BIN_DIR": programs}
    tool, *words = INSTALLERS[installer]
    run(BIN / tool, *words, f"{wheel}[webhooks]", env=env)
    program = tmp_path / "bin/sse-node"
    assert run(program, "--version", cwd=tmp_path).startswith("sse-node, version ")
    assert "sse-node webhooks" in run(program, "webhooks", "--help", cwd=tmp_path)
    (python,) = (tmp_path / "tools").rglob("sse-node/bin/python")
    installed = installed_with(python)
    assert "aiohttp" in dict(installed)
    if installer == "uv":
        assert installed <= locked()


# The image


def test_the_dockerfile_is_clean() -> None:
    run(BIN / "hadolint", "Dockerfile")


def test_the_image_is_safe_to_run() -> None:
    assert IMAGE.last("USER") == "10001"
    assert "--uid 10001 " in " ".join(IMAGE.all("RUN"))
    assert IMAGE.last("STOPSIGNAL") == "SIGTERM"
    chart = (ROOT / "deploy/helm/sse-node/templates/deployment.yaml").read_text("utf-8")
    assert "runAsUser: 10001" in chart
    assert not BUILD.all("ADD")
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    copied = {word for each in BUILD.all("COPY") for word in each.split()[:-1]}
    assert {f"!{name}" for name in copied} == {line for line in ignored if line.startswith("!")}


class ImageProcess(NodeProcess):
    """What a container of the image runs, below an init of its own."""

    def __init__(self, program: Path, *flags: str) -> None:
        """Take the program that `sse-node` is in the image."""
        super().__init__(*flags, env={"TINI_SUBREAPER": "1"})
        words = [*json.loads(IMAGE.last("ENTRYPOINT")), *json.loads(IMAGE.last("CMD"))]
        replaced = {"sse-node": str(program), "0.0.0.0": "127.0.0.1"}
        self.command = tuple(replaced.get(word, word) for word in words)


def test_the_init_passes_the_stop_signal_on(program: Path, redis: RedisProcess) -> None:
    with ImageProcess(program, "--redis-url", redis.url, "--drain-delay", "0") as node:
        node.wait_ready()
        assert Path(f"/proc/{node.pid}/comm").read_text("utf-8").strip() == "tini"
        check = json.loads(IMAGE.last("HEALTHCHECK").partition(" CMD ")[2])
        run(program, *check[1:], "--port", str(node.port))
        with StreamClient(node.url, "/events/sse/ann") as stream:
            stream.wait_open()
            os.kill(node.pid, getattr(signal, IMAGE.last("STOPSIGNAL")))
            stream.wait_closed()
        assert node.wait(10) == 0


def test_the_health_check_of_webhooks(program: Path, redis: RedisProcess) -> None:
    check = COMPOSE["services"]["webhooks"]["healthcheck"]["test"]
    assert check == ["CMD", "sse-node", "health", "--port", "3080"]
    process = WebhooksProcess("--redis-url", redis.url)
    process.command = (str(program), *COMPOSE["services"]["webhooks"]["command"])
    with process:
        run(program, "health", "--port", str(process.port))


def test_the_sbom_lists_the_packages_of_the_image(program: Path, tmp_path: Path) -> None:
    made = tmp_path / "sbom.json"
    run("make", "sbom", f"SBOM={made}")
    components = json.loads(made.read_text("utf-8"))["components"]
    listed = {(each["name"], each["version"]) for each in components}
    assert installed_with(program.with_name("python")) <= listed


# The compose file


def test_the_compose_file_is_valid() -> None:
    schema = ("--builtin-schema", "vendor.compose-spec")
    run(BIN / "check-jsonschema", *schema, "docker-compose.yml")


def test_only_nginx_is_published_and_to_this_machine_alone() -> None:
    published = {
        name: each["ports"] for name, each in COMPOSE["services"].items() if "ports" in each
    }
    assert published == {"nginx": ["127.0.0.1:8080:8080"]}


def test_nodes_of_the_compose_file_ask_for_tokens(redis: RedisProcess, tmp_path: Path) -> None:
    made = tmp_path / "secrets"
    run("make", made, f"SECRETS={made}")
    service = COMPOSE["services"]["node1"]
    env = {name: str(value) for name, value in service["environment"].items()}
    for name in service["secrets"]:
        file = tmp_path / COMPOSE["secrets"][name]["file"]
        assert file.stat().st_mode & 0o777 == 0o644  # for the user of the container
        env = {
            each: value.replace(f"/run/secrets/{name}", str(file)) for each, value in env.items()
        }
    env["REDIS_URL"] = redis.url
    assert not any("/run/" in value for value in env.values())
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    key = (tmp_path / "secrets/api-key").read_text("utf-8").strip()
    token = run(sys.executable, "-m", "sse_node", "token", "ann", env=env).strip()
    with NodeProcess(env=env) as node:
        node.wait_ready()
        assert node.get("/accounts").status_code == 401
        bearer = {"Authorization": f"Bearer {token}"}
        with StreamClient(node.url, "/events/sse", bearer) as stream:
            stream.wait_open()
            event = {"userId": "ann", "eventType": "order.paid", "data": 1}
            as_ann = httpx.post(f"{node.url}/events", json=event, headers=bearer)
            assert as_ann.status_code == 403
            with_key = {"Authorization": f"Bearer {key}"}
            httpx.post(f"{node.url}/events", json=event, headers=with_key).raise_for_status()
            stream.wait_for_type("order.paid")

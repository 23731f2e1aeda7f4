"""The public side against a recorded list: settings, metrics, routes and exit codes.

A difference is a change that users notice: record it here and in CHANGELOG.md.
"""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from sse_node.__main__ import main
from sse_node.config.reading import all_settings, flag_of, read_settings, variable_of
from sse_node.node.composition import Node

RECORDED: dict[str, Any] = msgspec.json.decode(
    (Path(__file__).parent / "public_surface.json").read_bytes()
)


@pytest.fixture
async def node() -> Node:
    return Node(read_settings({"server_id": "node-1"}, {}), "unix:///nowhere/redis.sock")


def test_settings() -> None:
    settings = {
        flag_of(item): [
            item.metadata["default"],
            item.metadata["unit"],
            [variable_of(item), *filter(None, [item.metadata["also"]])],
        ]
        for _, item in all_settings()
    }
    assert settings == RECORDED["settings"]


async def test_metrics(node: Node) -> None:
    families = {family.name: family.type for family in node.metrics.families()}
    assert families == RECORDED["metrics"]


async def test_routes(node: Node) -> None:
    routes = {resource.path: resource.allowed.decode() for resource in node.resources}
    assert routes == RECORDED["routes"]


@pytest.mark.parametrize("command", list(RECORDED["exit_codes"]))
def test_exit_codes(command: str) -> None:
    assert CliRunner().invoke(main, command.split()).exit_code == RECORDED["exit_codes"][command]

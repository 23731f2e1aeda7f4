"""The direction of imports: a module imports its own layer or one below."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "sse_node"
ROOT = Path(__file__).parent.parent

# A folder imports folders with a lower number.
LAYERS = {
    "sse_node": 0,
    "sse_node.errors": 0,
    "sse_node.lifetimes": 0,
    "sse_node.logs": 0,
    "sse_node.config": 1,
    "sse_node.wire": 1,
    "sse_node.client": 2,
    "sse_node.delivery": 2,
    "sse_node.http": 2,
    "sse_node.redis": 3,
    "sse_node.streams": 4,
    "sse_node.access": 4,
    "sse_node.webhooks": 4,
    "sse_node.api": 5,
    "sse_node.documents": 6,
    "sse_node.node": 7,
    "sse_node.bridges": 8,
    "sse_node.cli": 9,
    "sse_node.__main__": 10,
}
STRANGERS = {"sse_node.delivery", "sse_node.http"}  # of one layer, introduced by the node

# wire has no I/O, clock, state or logging; delivery has state, and none of the rest.
PURE = ("sse_node.wire", "sse_node.delivery")
IMPURE = {
    "asyncio", "concurrent", "datetime", "ftplib", "h11", "hiredis", "http.client", "http.server",
    "io", "logging", "multiprocessing", "os", "pathlib", "queue", "random", "redis", "secrets",
    "select", "selectors", "shutil", "signal", "socket", "socketserver", "ssl", "subprocess",
    "sys", "tempfile", "threading", "time", "urllib.request", "uvloop",
}  # fmt: skip


def modules_of(root: Path) -> dict[str, Path]:
    """Return every module of the package by its dotted name."""
    modules = {}
    for path in sorted((root / PACKAGE).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return modules


def imports_of(name: str, path: Path, modules: dict[str, Path]) -> Iterator[str]:
    """Yield what a module imports anywhere in it: modules of ours by their full names."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                packages = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
                above = packages[: len(packages) - node.level + 1]
                origin = ".".join([*above, origin]).rstrip(".")
            for alias in node.names:
                full = f"{origin}.{alias.name}"
                is_module = full in modules or (origin == PACKAGE and full in LAYERS)
                yield full if is_module or f"{origin}.{alias.name}" in IMPURE else origin


def part_of(module: str) -> str | None:
    """Return the entry of LAYERS that a module belongs to."""
    if module == PACKAGE:
        return PACKAGE
    part = ".".join(module.split(".")[:2])
    return part if part in LAYERS else None


def violations(root: Path) -> list[str]:
    """Return every import that goes in a wrong direction, as a sentence."""
    modules = modules_of(root)
    found = []
    for name, path in modules.items():
        part = part_of(name)
        if part is None:
            found.append(f"{name} has no layer")
            continue
        for imported in imports_of(name, path, modules):
            if part in PURE and is_impure(imported):
                found.append(f"{name} imports {imported}")
            if imported.split(".")[0] != PACKAGE:
                continue
            other = part_of(imported)
            if (
                other is None
                or LAYERS[other] > LAYERS[part]
                or (part != other and {part, other} == STRANGERS)
            ):
                found.append(f"{name} imports {imported}")
    return found


def is_impure(module: str) -> bool:
    """Return whether a module is of those that pure ones do without."""
    return any(module == impure or module.startswith(impure + ".") for impure in IMPURE)


def test_imports_go_down() -> None:
    assert violations(ROOT) == []


def test_every_layer_that_is_there_was_looked_at() -> None:
    parts = {part_of(name) for name in modules_of(ROOT)}
    assert parts >= set(LAYERS)
    assert len(modules_of(ROOT)) >= 30


def test_the_supervisor_has_no_node_in_its_process() -> None:
    node = {
        "asyncio",
        "h11",
        "hiredis",
        "redis",
        "uvloop",
        "sse_node.node.server",
        "sse_node.node.worker",
    }
    code = "import sys, sse_node.__main__; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert "sse_node.node.supervisor" in loaded
    assert not node & set(loaded)


def test_every_exception_class_is_in_errors() -> None:
    elsewhere = [
        f"{name}.{node.name}"
        for name, path in modules_of(ROOT).items()
        if name != "sse_node.errors"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
        and any(ast.unparse(base).endswith(("Error", "Exception")) for base in node.bases)
    ]
    assert elsewhere == []


@pytest.mark.parametrize(("folder", "limit"), [("sse_node", 350), ("bench", 400)])
def test_modules_are_short(folder: str, limit: int) -> None:
    lines = {path: len(path.read_text().splitlines()) for path in (ROOT / folder).rglob("*.py")}
    assert len(lines) > 30
    assert {str(path): count for path, count in lines.items() if count > limit} == {}


def parameters_of(made: ast.ClassDef) -> int:
    """Return the number of arguments of the constructor that a class defines, or 0."""
    for node in made.body:
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            return len(node.args.args) + len(node.args.kwonlyargs) - 1
    if any("dataclass" in ast.unparse(each) for each in made.decorator_list):
        fields = [node for node in made.body if isinstance(node, ast.AnnAssign)]
        return sum("init=False" not in ast.unparse(field) for field in fields)
    return 0


def test_constructors_have_few_parameters() -> None:
    many = [
        f"{name}.{node.name}"
        for name, path in modules_of(ROOT).items()
        # A field of a section is a setting.
        if name
        not in {f"sse_node.config.{each}" for each in ("sections", "limits", "webhooks", "bridges")}
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and parameters_of(node) > 8
    ]
    assert many == []


# The checker itself, on a made-up tree


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a folder with a package of one module in each layer."""
    for name in ("", "errors", "wire.sse", "delivery.hub", "http.stream", "api.events", "node"):
        path = tmp_path.joinpath(PACKAGE, *name.split(".")).with_suffix(".py")
        if not name:
            path = tmp_path / PACKAGE / "__init__.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.touch()
    return tmp_path


def write(tree: Path, module: str, code: str) -> None:
    tree.joinpath(PACKAGE, *module.split(".")).with_suffix(".py").write_text(code)


def test_checker_finds_nothing_in_a_tree_without_imports(tree: Path) -> None:
    assert violations(tree) == []


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("wire.sse", "import re\nfrom sse_node.errors import RequestError"),
        ("wire.sse", "from http import HTTPStatus\nfrom urllib.parse import quote"),
        ("delivery.hub", "from sse_node.wire import sse\nfrom sse_node.wire.sse import encode"),
        ("delivery.hub", "from . import other\nfrom .other import Thing\nfrom ..wire import sse"),
        ("http.stream", "import asyncio, socket\nfrom sse_node.wire.sse import encode"),
        ("api.events", "import sse_node.delivery.hub\nimport sse_node.http.stream"),
        ("node", "import logging\nfrom sse_node import __version__\nfrom sse_node.api import a"),
    ],
)
def test_checker_lets_pass_what_goes_down(tree: Path, module: str, code: str) -> None:
    write(tree, module, code)
    assert violations(tree) == []


@pytest.mark.parametrize(
    ("module", "code", "violation"),
    [
        ("delivery.hub", "import sse_node.http.stream", "sse_node.http.stream"),
        ("delivery.hub", "from sse_node.http.stream import EventStream", "sse_node.http.stream"),
        ("delivery.hub", "from sse_node.http import stream", "sse_node.http.stream"),
        ("delivery.hub", "from sse_node import http", "sse_node.http"),
        ("delivery.hub", "from ..http import stream", "sse_node.http.stream"),
        ("delivery.hub", "from ..http.stream import EventStream", "sse_node.http.stream"),
        ("delivery.__init__", "from ..http import stream", "sse_node.http.stream"),
        ("delivery.hub", "def f():\n    from sse_node.http import stream", "sse_node.http.stream"),
        (
            "delivery.hub",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import sse_node.http.stream",
            "sse_node.http.stream",
        ),
        ("http.stream", "from sse_node.delivery.hub import Hub", "sse_node.delivery.hub"),
        ("http.stream", "from sse_node.api.events import Streams", "sse_node.api.events"),
        ("wire.sse", "from sse_node.delivery import hub", "sse_node.delivery.hub"),
        ("errors", "import sse_node.wire.sse", "sse_node.wire.sse"),
        ("api.events", "from sse_node.node import Node", "sse_node.node"),
        ("api.events", "from sse_node import node", "sse_node.node"),
        ("api.events", "from sse_node import node as n", "sse_node.node"),
        ("node", "from sse_node.nowhere import a", "sse_node.nowhere"),
        ("wire.sse", "import asyncio", "asyncio"),
        ("wire.sse", "from asyncio import subprocess", "asyncio"),
        ("wire.sse", "import asyncio.subprocess as a", "asyncio.subprocess"),
        ("wire.sse", "from urllib import request", "urllib.request"),
        ("wire.sse", "import http.client", "http.client"),
        ("delivery.hub", "import logging", "logging"),
        ("delivery.hub", "import socket", "socket"),
        ("delivery.hub", "from time import monotonic", "time"),
    ],
)
def test_checker_finds_what_goes_up_or_aside(
    tree: Path, module: str, code: str, violation: str
) -> None:
    write(tree, module, code)
    name = f"{PACKAGE}.{module.removesuffix('.__init__')}"
    assert violations(tree) == [f"{name} imports {violation}"]


def test_checker_finds_a_module_without_a_layer(tree: Path) -> None:
    write(tree, "utils", "")
    assert violations(tree) == ["sse_node.utils has no layer"]

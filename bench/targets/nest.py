"""`nestjs`: a NestJS service with ioredis and RxJS, one process; see the folder `nestjs`."""

import json
from pathlib import Path

from bench.report.tables import output_of
from bench.targets.listening import RedisPeer

_FOLDER = Path(__file__).parent / "nestjs"
_OLDEST_NODE = 20  # NestJS 12 and ioredis 6 ask for it


class NestJs(RedisPeer):
    """`node main.js` with everything as NestJS has it by default."""

    name = "nestjs"
    command = ("node", _FOLDER / "main.js")


def missing() -> str:
    """What of it is not installed, for people; empty when nothing is missing."""
    version = output_of("node", "--version")  # v20.11.1
    if not version.startswith("v") or int(version[1:].partition(".")[0]) < _OLDEST_NODE:
        return f"Node.js {_OLDEST_NODE} or newer is"
    if not (_FOLDER / "node_modules" / "@nestjs" / "core").is_dir():
        return "its npm packages are"
    return ""


def versions() -> str:
    """Of Node.js and of its npm packages."""
    packages = json.loads((_FOLDER / "package.json").read_text("utf-8"))["dependencies"]
    named = ", ".join(f"{name} {version}" for name, version in packages.items())
    return f"Node.js {output_of('node', '--version').removeprefix('v')}, {named}"

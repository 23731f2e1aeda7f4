"""The instructions of a Dockerfile, and a build stage of it run on this machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import venv
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        instructions: name and arguments, in order, without FROM.
    """

    instructions: tuple[tuple[str, str], ...]

    def all(self, name: str) -> list[str]:
        """Return the arguments of every instruction of a name."""
        return [arguments for each, arguments in self.instructions if each == name]

    def last(self, name: str) -> str:
        """Return the arguments of the instruction of a name that counts."""
        return self.all(name)[-1]


def stages_of(path: Path) -> list[Stage]:
    """Return the stages of a Dockerfile, in order."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text("utf-8"), flags=re.MULTILINE)
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    stages: list[list[tuple[str, str]]] = []
    for line in lines:
        name, _, arguments = line.partition(" ")
        if name == "FROM":
            stages.append([])
        else:
            stages[-1].append((name, " ".join(arguments.split())))
    return [Stage(tuple(instructions)) for instructions in stages]


def run_stage(stage: Stage, context: Path, root: Path) -> None:
    """Run a stage's COPY and RUN instructions with the paths of its container below a directory.

    Args:
        stage: whose WORKDIR is `/src`, and which writes below that, `/opt` and `/dist`.
        context: what it copies from.
        root: an empty directory.

    Raises:
        CalledProcessError: an instruction failed.
    """
    python = root / "python"  # of the base image
    venv.create(python, with_pip=True)
    source = root / "src"
    source.mkdir()
    (root / "opt").mkdir()
    for name, arguments in stage.instructions:
        if name == "COPY":
            *copied, where = arguments.split()
            for each in copied:
                _copy(context / each, source / where / (each if (context / each).is_file() else ""))
        elif name == "RUN":
            command = re.sub(r"(?<= )/(?=opt/|dist\b)", f"{root}/", arguments)
            subprocess.run(
                ["bash", "-euc", command],
                cwd=source,
                env={"PATH": f"{python}/bin:/usr/bin:/bin", **_pip_environment()},
                check=True,
                capture_output=True,
                text=True,
            )


def _copy(what: Path, where: Path) -> None:
    if what.is_dir():
        shutil.copytree(what, where, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(what, where)


def _pip_environment() -> dict[str, str]:
    """Return what tells pip where packages are, as it is told here."""
    return {name: value for name, value in os.environ.items() if name.startswith("PIP_")}

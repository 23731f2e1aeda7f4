"""The commands and the computation in docs/deploying.md, run in a directory of their own."""

from __future__ import annotations

import contextlib
import grp
import io
import os
import pwd
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.harness import ROOT, RedisProcess, environment_without_settings

if TYPE_CHECKING:
    from tests.support.nodes import StartNode

pytestmark = pytest.mark.integration

DOCUMENT = (ROOT / "docs/deploying.md").read_text("utf-8")


def block(language: str, beginning: str) -> str:
    """Return the code block that begins so."""
    (found,) = (
        text
        for text in re.findall(rf"^```{language}\n(.*?)^```", DOCUMENT, re.DOTALL | re.MULTILINE)
        if text.startswith(beginning)
    )
    assert isinstance(found, str)
    return found


def run(script: str) -> str:
    """Return what a script prints in the folder of the project."""
    path = f"{Path(sys.executable).parent}:{ROOT}/.tools/bin:{os.environ['PATH']}"
    result = subprocess.run(
        ["bash", "-euxc", script],
        cwd=ROOT,
        env=environment_without_settings() | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_commands_for_systemd(tmp_path: Path) -> None:
    user, group = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
    script = block("sh", "python3 -m venv /opt/sse-node")
    for written, here in (
        (r"(?<=[ \n])/(?=(opt|usr|etc)/)", f"{tmp_path}/"),
        ("billing.txt", f"{tmp_path}/billing.txt"),
        (r'(?<=")/etc/', f"{tmp_path}/etc/"),
        ("systemd-sysusers", f"systemd-sysusers --root={tmp_path}"),
        ("systemctl enable --now", f"systemctl --root={tmp_path} enable"),
        ("-g sse-node", f"-g {group}"),
        ("root:sse-node", f"{user}:{group}"),
    ):
        script, count = re.subn(written, here, script)
        assert count
    for folder in ("usr/lib/sysusers.d", "etc/systemd/system"):
        (tmp_path / folder).mkdir(parents=True)
    run(script)
    wanted = tmp_path / "etc/systemd/system/multi-user.target.wants/sse-node.service"
    assert wanted.is_symlink()
    configuration = tmp_path / "etc/sse-node/sse-node.toml"
    program = tmp_path / "opt/sse-node/bin/sse-node"
    values = run(f"{program} check-config --config {configuration}")
    assert "/run/sse-node/node.sock" in values
    assert "redis://10.0.0.5:6379" in values


def test_a_token_a_stream_and_an_event(
    start_node: StartNode, redis: RedisProcess, tmp_path: Path
) -> None:
    run(f"cd {tmp_path}; sse-node key billing --may 'publish:user:*' > billing.txt;"
        "sed -n 2p billing.txt > api-keys; openssl rand -hex 32 > jwt-key")  # fmt: skip
    keys = ("--jwt-key", f"{tmp_path}/jwt-key", "--api-keys", f"{tmp_path}/api-keys")
    node = start_node("--auth", "jwt", "--auth-query", "yes", *keys, redis=redis)
    script = block("sh", "token=")
    for written, here in (
        ("/opt/sse-node/bin/", ""),
        ("/etc/sse-node", str(tmp_path)),
        ("127.0.0.1:8080", f"{node.host}:{node.port}"),
        (" &\n", " > stream.txt &\nuntil grep -q sse.open stream.txt; do sleep 0.1; done\n"),
    ):
        script, count = re.subn(written, here, script)
        assert count
    heard = "until grep -q hello stream.txt; do sleep 0.1; done; kill %1"
    run(f"cd {tmp_path}\n{script}\n{heard}")


def test_the_commands_for_helm(tmp_path: Path) -> None:
    install, test = block("sh", "helm install").strip().rsplit("\n", 1)
    assert test == "helm test events"
    offline = install.replace("helm install events", "helm template events --kube-version 1.33.0")
    assert "kind: Deployment" in run(offline)
    day = block("sh", "helm template demo").replace(
        "docs/autoscaling.svg", str(tmp_path / "day.svg")
    )
    assert "limit of a pod" in run(day)
    assert (tmp_path / "day.svg").stat().st_size > 1000


def test_the_computation_prints_what_is_written_below_it() -> None:
    code = block("python", "streams, events")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "docs/deploying.md", "exec"), {})
    assert code.splitlines()[-1] == f"# {printed.getvalue().strip()}"

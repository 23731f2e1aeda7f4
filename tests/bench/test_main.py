"""The command line."""

import json
import os
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench import compare
from bench.__main__ import main
from bench.harness.c_program import has_compiler
from bench.measure import procfs as proc
from bench.targets.redis_peers import NestJs
from bench.workloads.work import QUICK_SETTINGS


def test_without_a_name_it_lists_the_benchmarks() -> None:
    result = CliRunner().invoke(main, [])
    assert result.exit_code == 0
    listed = [line.split()[0] for line in result.output.partition("Commands:")[2].splitlines()[1:]]
    assert listed == sorted(listed)
    assert {"fanout", "open", "scale", "storm", "unicast", "unwanted", "workers"} <= set(listed)


@pytest.mark.parametrize(
    "line",
    [
        "fanout --streams 0",
        "saturate --payload 10",
        "nodes --nodes 1,two",
        "nodes --nodes 0",
        "nodes --streams 5 --nodes 8",
        "workers --workers 1",
        "no-such-bench",
    ],
)
def test_invalid_options_are_rejected(line: str) -> None:
    result = CliRunner().invoke(main, shlex.split(line))
    assert result.exit_code == 2
    assert "Error" in result.output


@pytest.mark.integration
@pytest.mark.skipif(not has_compiler(), reason="no C compiler")
@pytest.mark.parametrize(
    "line",
    [
        "open --streams 20 --rounds 1",
        "unwanted --events 1000 --rounds 1",
        "workers --streams 10 --seconds 0.2 --warmup 0 --pairs 1",
    ],
)
def test_a_benchmark_prints_its_tables_and_writes_its_json(line: str, tmp_path: Path) -> None:
    cores = os.sched_getaffinity(0)
    try:
        result = CliRunner().invoke(main, [*shlex.split(line), "--json", str(tmp_path / "run")])
    finally:
        os.sched_setaffinity(0, cores)  # the benchmark kept one free
    assert result.exit_code == 0, result.output
    name = line.split()[0]
    assert name in result.output
    run = json.loads((tmp_path / "run").read_text())
    assert run["bench"] == name
    assert run["result"]["problems"] == []


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("--peer no-such-server", "expected nchan, starlette, nestjs or a URL"),
        ("--peer http://127.0.0.1:1/{}", "needs --peer-publish"),
        ("--peer http://127.0.0.1:1/ --peer-publish cat", "for the user"),
        ("--work fanout,nothing", "no such work: nothing"),
        ("--rounds 0", "--rounds"),
        ("--peer nchan --peer-pid 1", "for a --peer with a URL"),
        ("--html /no/such/folder/report.html", "there is no folder '/no/such/folder'"),
        ("--json /no/such/folder/run.json", "there is no folder '/no/such/folder'"),
    ],
)
def test_invalid_options_of_compare_are_rejected(line: str, why: str) -> None:
    result = CliRunner().invoke(main, ["compare", *shlex.split(line)])
    assert result.exit_code == 2
    assert why in " ".join(result.output.split())


def test_a_peer_that_is_not_installed_is_skipped_with_a_message(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls: list[tuple[object, ...]] = []

    def run(*arguments: object) -> compare.CompareResult:
        calls.append(arguments)
        return compare.CompareResult([], [compare.NODE], ["nestjs: …"], {}, [], [], {})

    monkeypatch.setattr(compare, "run", run)
    monkeypatch.setattr(proc, "reserve_core", lambda: 0)
    monkeypatch.setattr(NestJs, "missing", lambda: "its npm packages are")
    page, data = tmp_path / "page.html", tmp_path / "data.json"
    line = ["compare", "--quick", "--peer", "nestjs", "--peer", "nchan", "--work", "open, idle"]
    result = CliRunner().invoke(main, [*line, "--html", str(page), "--json", str(data)])
    assert result.exit_code == 0
    message = "nestjs: its npm packages are not installed; `make peers` installs it"
    assert message in result.output
    ((settings, works, rounds, core, contestants, skipped, _),) = calls
    assert (settings, works, rounds, core) == (QUICK_SETTINGS, ["open", "idle"], 3, 0)
    assert isinstance(contestants, dict)
    assert list(contestants) == ["nchan"]
    assert skipped == [message]
    assert "</html>" in page.read_text()
    assert json.loads(data.read_text())["bench"] == "compare"

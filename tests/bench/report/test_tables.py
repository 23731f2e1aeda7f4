"""Percentiles, tables, JSON, and the screen while a benchmark runs."""

import json
import sys
from pathlib import Path

import msgspec
import pytest
from rich.console import Console
from rich.table import Table as RichTable

from bench.report.tables import (
    Result,
    Screen,
    Table,
    curve,
    environment,
    environment_table,
    percentiles,
    printable,
    table,
    write_json,
)


class Settings(msgspec.Struct):
    streams: int


class Measured(Result):
    per_second: float

    def tables(self) -> list[Table]:
        return [table("measured", ("", "node"), [("per second", f"{self.per_second:,.0f}")])]


def text_of(shown: RichTable) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(shown)
    return capture.get()


def test_percentiles_of_an_even_distribution() -> None:
    found = percentiles([[(ms * 1_000_000, 1) for ms in range(1, 1001)]])
    assert found.count == 1000
    assert [found.p50, found.p90, found.p99, found.p99_9, found.highest] == pytest.approx(
        [500, 900, 990, 999, 1000], rel=0.002
    )


def test_percentiles_of_several_histograms_are_those_of_all_values() -> None:
    found = percentiles([[(1_000_000, 98)], [(9_000_000, 1)], [(50_000_000, 1)]])
    assert [found.p50, found.p90, found.p99, found.highest] == pytest.approx(
        [1, 1, 9, 50], rel=0.002
    )


def test_latency_beyond_the_histogram_counts_as_its_ends() -> None:
    found = percentiles([[(0, 1), (10**15, 1)]])
    assert found.count == 2
    assert found.highest == pytest.approx(3_600_000, rel=0.002)


def test_percentiles_of_nothing() -> None:
    assert percentiles([]).count == 0


def test_a_curve_goes_as_far_as_there_are_values() -> None:
    points = curve([[(ms * 1_000_000, 1) for ms in range(1, 1001)]])
    assert points[0] == pytest.approx((0, 1), rel=0.002)
    assert points[10] == pytest.approx((90, 900), rel=0.002)
    assert points[-1] == pytest.approx((99.9, 999), rel=0.002)
    assert curve([]) == []


def test_environment_names_what_a_result_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "fanout", "--pairs", "1"])
    where = environment()
    shown = text_of(environment_table(where))
    assert "uvloop" in where.packages
    assert where.command == "python -m bench fanout --pairs 1"
    assert all(str(value) in shown for value in msgspec.structs.astuple(where))


def test_json_has_environment_settings_and_result(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write_json(path, environment(), "fanout", Settings(7), Measured(problems=[], per_second=12.5))
    run = json.loads(path.read_text())
    assert run["bench"] == "fanout"
    assert run["settings"] == {"streams": 7}
    assert run["result"] == {"problems": [], "per_second": 12.5}
    assert run["environment"]["commit"]


def test_a_result_is_a_table() -> None:
    assert "1,234,567" in text_of(printable(Measured(problems=[], per_second=1234567).tables()[0]))


def test_the_screen_shows_what_was_measured(capsys: pytest.CaptureFixture[str]) -> None:
    with Screen("fanout", ("pair", "server")) as screen:
        screen.step("node: 250 events", total=250_000)
        screen.advance_to(125_000)
        screen.add_row("1", "node")
    shown = capsys.readouterr().err
    assert "fanout" in shown
    assert "node" in shown

"""The result of a run in tables and in JSON, and its command line."""

import io
from collections.abc import Sequence

import msgspec
import pytest
from click.testing import CliRunner
from rich.console import Console

from bench.__main__ import main
from bench.chaos.checker import Case, Violation
from bench.chaos.report import COLUMNS, ChaosResult, Injected
from bench.report.tables import printable


def result_of(cases: Sequence[Case] = (), problems: Sequence[str] = ()) -> ChaosResult:
    return ChaosResult(
        problems=list(problems),
        seed=1,
        injected=[
            Injected("failover", "", 0.0, 5.0, 0.5, 300, 100),
            Injected("node-kill", "node-2", 10.0, 0.0, 0.25, 0, 0),
            Injected("failover", "", 20.0, 5.0, 1.5, 200, 100),
        ],
        cases=list(cases),
        streams=300,
        connections=500,
        acknowledged=1000,
        attempts=1100,
        deliveries=15000,
    )


def printed(result: ChaosResult) -> str:
    console = Console(file=io.StringIO(), width=200)
    for table in result.tables():
        console.print(printable(table))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def row_of(name: str, text: str) -> list[str]:
    (line,) = (line for line in text.splitlines() if name in line.split())
    return [cell.strip() for cell in line.split("│")[1:-1]]


def test_a_row_for_each_kind_of_fault() -> None:
    text = printed(result_of())
    zeros = ["0"] * len(Violation)
    assert row_of("node-kill", text) == ["node-kill", "1", "0.25 s", "0.25 s", "0", *zeros]
    assert row_of("failover", text) == ["failover", "2", "1.00 s", "1.50 s", "500", *zeros]
    assert not result_of().failed


def test_an_injected_fault_is_a_row_of_progress() -> None:
    cells = [injected.cells() for injected in result_of().injected]
    assert [cell[0] for cell in cells] == ["failover", "node-kill node-2", "failover"]
    assert {len(cell) for cell in cells} == {len(COLUMNS)}


def test_violations_are_counted_with_their_faults_and_shown() -> None:
    cases = [
        Case(Violation.LOSS, 0, "stream 1", "number 5"),
        Case(Violation.LOSS, 2, "stream 2", "number 6"),
        Case(Violation.ORDER, -1, "stream 3", "number 7"),
    ]
    result = result_of(cases)
    assert result.failed
    text = printed(result)
    assert row_of("failover", text.partition("violations")[0])[5] == "2"
    assert row_of("before", text)[7] == "1"
    assert "stream 2" in text.partition("the first 3 of 3 violations")[2]


def test_other_problems_fail_a_run() -> None:
    assert result_of(problems=["a node logged: Traceback"]).failed


def test_a_result_is_json() -> None:
    result = result_of([Case(Violation.GIVEN_UP, 1, "stream 1", "503")])
    assert msgspec.json.decode(msgspec.json.encode(result), type=ChaosResult) == result


@pytest.mark.parametrize("line", [["--faults", "no-such-fault"], ["--faults", ""], ["--rate", "0"]])
def test_invalid_options_are_rejected(line: list[str]) -> None:
    result = CliRunner().invoke(main, ["chaos", *line])
    assert result.exit_code == 2
    assert "Error" in result.output

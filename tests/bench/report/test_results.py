"""RESULTS.md from the files of the runs."""

from pathlib import Path

import msgspec

from bench.report import results, tables
from bench.report.tables import Result, Table, table


class OneTable(Result):
    """A result with one table."""

    def tables(self) -> list[Table]:
        return [table("fanout", ("", "node"), [["CPU | user", "1.0 µs"]])]


def test_a_run_becomes_a_section(tmp_path: Path) -> None:
    where = tables.environment()
    where = msgspec.structs.replace(where, command="python -m bench fanout", commit="abc")
    tables.write_json(tmp_path / "1-fanout.json", where, "fanout", None, OneTable(problems=[]))
    text = results.with_runs(
        "before <!-- runs:begin -->old<!-- runs:end --> after", results.runs(tmp_path)
    )
    assert text.startswith(
        "before <!-- runs:begin -->\n### `python -m bench fanout`\n\nCommit abc; "
    )
    assert "\n\n**fanout**\n\n|  | node |\n| --- | --- |\n| CPU \\| user | 1.0 µs |\n" in text
    assert text.endswith("<!-- runs:end --> after")
    assert results.with_runs(text, results.runs(tmp_path)) == text


def test_results_are_what_the_command_writes() -> None:
    text = results.DOCUMENT.read_text("utf-8")
    assert results.with_runs(text, results.runs()) == text

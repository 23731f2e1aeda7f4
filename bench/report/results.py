"""The tables of RESULTS.md, from the JSON files of the runs in `bench/results`."""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from bench.report.tables import Environment, Table

FOLDER = Path(__file__).parents[1] / "results"
DOCUMENT = Path(__file__).parents[1] / "RESULTS.md"
_BEGIN, _END = "<!-- runs:begin -->", "<!-- runs:end -->"


class Run(msgspec.Struct):
    """The parts of a JSON file that are read."""

    bench: str
    environment: Environment
    tables: list[Table]


def runs(folder: Path = FOLDER) -> list[Run]:
    """Return the runs of a folder, by the names of their files."""
    return [
        msgspec.json.decode(path.read_bytes(), type=Run) for path in sorted(folder.glob("*.json"))
    ]


def markdown(found: Iterable[Run]) -> str:
    """Return the runs as sections of a Markdown document."""
    sections = []
    for run in found:
        where = run.environment
        lines = [
            f"### `{where.command}`",
            "",
            f"Commit {where.commit}; {where.machine}; {where.kernel}; {where.python}; "
            f"{where.packages}; {where.redis}; {where.compiler}; load average {where.load_average} "
            "before.",
        ]
        for each in run.tables:
            lines += ["", f"**{each.title}**", ""] if each.title else [""]
            lines += [_row(each.columns), _row("---" for _ in each.columns)]
            lines += [_row(row) for row in each.rows]
        sections.append("\n".join(lines))
    return "\n\n".join(sections)


def with_runs(text: str, found: Iterable[Run]) -> str:
    """Return a document with its generated part replaced."""
    head, _, rest = text.partition(_BEGIN)
    _, _, tail = rest.partition(_END)
    return f"{head}{_BEGIN}\n{markdown(found)}\n{_END}{tail}"


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

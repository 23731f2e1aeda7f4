"""The output of a benchmark: environment, progress, tables and JSON."""

import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Self

import msgspec
from hdrh.histogram import HdrHistogram
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as RichTable

from bench.harness import ROOT
from bench.harness.c_program import compiler
from bench.measure.sample import Sample

_HIGHEST_LATENCY_NS = 3_600_000_000_000  # an hour: longer than any measurement
_SIGNIFICANT_DIGITS = 3
_CURVE_STEPS = 10
_LINES_AROUND = 8  # the live table's title, head, frame and progress
_LINES_OF_A_ROW = 2  # arbitrary: a row may be too long for one line
_PACKAGES = ("uvloop", "hiredis", "msgspec", "h11", "redis")


class Percentiles(msgspec.Struct, frozen=True):
    """A latency distribution in milliseconds."""

    p50: float
    p90: float
    p99: float
    p99_9: float
    highest: float
    count: int


class Environment(msgspec.Struct, frozen=True):
    """The machine, the software and the command of a result."""

    machine: str
    kernel: str
    python: str
    packages: str
    redis: str
    compiler: str
    commit: str
    command: str
    load_average: float
    """Over the minute before the benchmark."""


class Table(msgspec.Struct):
    """The text of a table."""

    title: str
    columns: list[str]
    rows: list[list[str]]


class Result(msgspec.Struct):
    """The result of a benchmark."""

    problems: list[str]
    """Why this result does not count; empty when it counts."""

    @property
    def verdict(self) -> str:
        """Why this result does not count, as a sentence; empty when it counts."""
        return "the result does not count: " + "; ".join(self.problems) if self.problems else ""

    def tables(self) -> list[Table]:
        """Return the result as tables."""
        raise NotImplementedError


class Measurements(Result):
    """The samples of a benchmark, and their summary."""

    samples: dict[str, list[dict[str, float]]]
    """The values of the samples by what was measured, such as `2 workers`."""
    summary: list[Table]

    def tables(self) -> list[Table]:
        """Return the summary."""
        return self.summary


def measurements(samples: Mapping[str, Sequence[Sample]], *summary: Table) -> Measurements:
    """Return samples with their summary; the notes of a sample are problems."""
    return Measurements(
        problems=[note for group in samples.values() for sample in group for note in sample.notes],
        samples={name: [sample.values for sample in group] for name, group in samples.items()},
        summary=list(summary),
    )


def table(title: str, columns: Sequence[str], lines: Iterable[Sequence[str]]) -> Table:
    """Return the text of a table: the first column names its row."""
    return Table(title, list(columns), [list(line) for line in lines])


def printable(text: Table) -> RichTable:
    """Return a table for the terminal: the first column names its row, the others are figures."""
    shown = RichTable(title=text.title or None, title_justify="left")
    for number, column in enumerate(text.columns):
        shown.add_column(column, justify="right" if number else "left")
    for row in text.rows:
        shown.add_row(*row)
    return shown


def percentiles(histograms: Iterable[Iterable[tuple[int, int]]]) -> Percentiles:
    """Return the percentiles of latencies in ns; histograms consist of (value, count)."""
    all_of_them = _histogram(histograms)

    def at(percentile: float) -> float:
        return float(all_of_them.get_value_at_percentile(percentile)) / 1e6

    return Percentiles(at(50), at(90), at(99), at(99.9), at(100), all_of_them.total_count)


def latency_values(histograms: Iterable[Iterable[tuple[int, int]]]) -> dict[str, float]:
    """Return percentiles as the values of a sample: `p50_ms` and so on, and `latencies`."""
    found = msgspec.structs.asdict(percentiles(histograms))
    count = found.pop("count")
    return {f"{name}_ms": value for name, value in found.items()} | {"latencies": count}


def curve(histograms: Iterable[Iterable[tuple[int, int]]]) -> list[tuple[float, float]]:
    """Return the distribution as a curve: (percentile, milliseconds), as far as it has values.

    Percentiles are even in 1/(1-p): ten for each power of ten.
    """
    all_of_them = _histogram(histograms)
    points = []
    for step in range(_CURVE_STEPS * 7):
        beyond = 10 ** (-step / _CURVE_STEPS)  # the share of values above this point
        if beyond * all_of_them.total_count < 1:
            break
        percentile = 100 * (1 - beyond)
        points.append((percentile, all_of_them.get_value_at_percentile(percentile) / 1e6))
    return points


def environment() -> Environment:
    """Return the machine of this process, and the commit of the project."""
    cores = os.cpu_count() or 1
    return Environment(
        machine=f"{_cpu_model()}, {cores} core{'s' if cores > 1 else ''}, {platform.machine()}",
        kernel=f"{platform.system()} {platform.release()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        packages=", ".join(f"{name} {metadata.version(name)}" for name in _PACKAGES),
        redis=output_of("redis-server", "--version").partition(" sha=")[0],
        compiler=output_of(*compiler(), "--version"),
        commit=_commit(),
        command=shlex.join(["python", "-m", "bench", *sys.argv[1:]]),
        load_average=round(os.getloadavg()[0], 2),
    )


def environment_table(where: Environment) -> RichTable:
    """Return the environment as a table."""
    grid = RichTable.grid(padding=(0, 2))
    for name, value in msgspec.structs.asdict(where).items():
        grid.add_row(name.replace("_", " "), str(value))
    return grid


def write_json(
    path: Path, where: Environment, bench: str, settings: object, result: Result
) -> None:
    """Write one run as a JSON file."""
    run = {
        "bench": bench,
        "environment": where,
        "settings": settings,
        "result": result,
        "tables": result.tables(),
    }
    path.write_bytes(msgspec.json.format(msgspec.json.encode(run), indent=2) + b"\n")


def output_of(*command: str) -> str:
    """Return the first line of a command's output, usually a version; nginx uses stderr."""
    if shutil.which(command[0]) is None:
        return f"no {command[0]}"
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    said = done.stdout or ("" if done.returncode else done.stderr)
    return said.partition("\n")[0]


class Screen:
    """Progress and a live table on stderr while a benchmark runs; lives as long as its run.

    It draws only when something changes, because drawing takes CPU from the load.
    """

    def __init__(self, title: str, columns: Sequence[str]) -> None:
        """Take title and columns of the table."""
        self._title = title
        self._columns = columns
        self._rows: list[Sequence[str]] = []
        self._console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), auto_refresh=False
        )
        self._step = self._progress.add_task("starting", total=None)
        self._live = Live(self._drawn(0), console=self._console, auto_refresh=False)

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._live.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Show the whole table."""
        self._progress.update(self._step, visible=False)
        self._live.update(self._drawn(len(self._rows)))
        self._live.stop()

    def step(self, description: str, total: int | None = None) -> None:
        """Show the present step and its total."""
        self._progress.reset(self._step, description=description, total=total)
        self._live.refresh()

    def advance_to(self, completed: int) -> None:
        """Show how much of the step is done."""
        self._progress.update(self._step, completed=completed)
        self._live.refresh()

    def add_row(self, *cells: str) -> None:
        """Add a row to the table."""
        self._rows.append(cells)
        fitting = max(1, (self._console.height - _LINES_AROUND) // _LINES_OF_A_ROW)
        self._live.update(self._drawn(fitting), refresh=True)

    def _drawn(self, rows: int) -> Group:
        """Return the newest rows and the progress."""
        newest = self._rows[-rows:] if rows else []
        return Group(printable(table(self._title, self._columns, newest)), self._progress)


def _histogram(histograms: Iterable[Iterable[tuple[int, int]]]) -> HdrHistogram:
    all_of_them = HdrHistogram(1, _HIGHEST_LATENCY_NS, _SIGNIFICANT_DIGITS)
    for histogram in histograms:
        for value_ns, count in histogram:
            all_of_them.record_value(min(max(value_ns, 1), _HIGHEST_LATENCY_NS), count)
    return all_of_them


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"


def _commit() -> str:
    commit = output_of("git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD")
    changed = output_of("git", "-C", str(ROOT), "status", "--porcelain", "--untracked=no")
    return f"{commit} with changes" if changed else commit

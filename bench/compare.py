"""`compare`: sse-node, the floor in C, and other servers at the same work in one run.

The measured server has one core for itself. Only one server runs at a time; Redis, sender
and client share the other cores. Servers take turns in rounds (A B C A B C), so that other load
on the machine affects all of them. Each ratio is taken within a round.
"""

import functools
import resource
import statistics
from collections.abc import Callable, Sequence

import msgspec

from bench.harness import ProcessError
from bench.harness.servers import ROOM, Server, SseNode
from bench.measure.sample import Figure, Sample, Spread, spread_of, spreads_of
from bench.report.tables import (
    Percentiles,
    Result,
    Screen,
    Table,
    curve,
    percentiles,
    table,
)
from bench.targets import PEERS
from bench.targets.c_floor import Floor
from bench.workloads.work import Settings, Work
from bench.workloads.works import WORKS, measure_bare_latency

COLUMNS = ("work", "round", "server", "result", "remarks")

NODE = SseNode.name
FLOOR = "floor"
BARE = "bare subscriber"
"""A C program: its latency is what no server can avoid."""

# Arbitrary: ids and numbers in the frames differ by a digit.
_SAME_SIZE = 0.01

RATIO = "sse-node's, divided by it"
"""The row with the ratio of a workload's main figure."""

Contestants = dict[str, "Callable[[], Server]"]


class Row(msgspec.Struct):
    """One server at one workload, over the rounds."""

    server: str
    samples: list[dict[str, float]]
    """By round; a failed round is empty."""
    figures: dict[str, Spread]
    latency_ms: Percentiles | None
    latency_curve: list[tuple[float, float]]
    """Of all rounds together: (percentile, milliseconds)."""
    memory: list[tuple[int, int]]
    """(streams, bytes), the median of the rounds."""
    notes: list[str]


class Outcome(msgspec.Struct):
    """All servers at one workload."""

    work: str
    about: str
    rows: list[Row]

    def row(self, server: str) -> Row | None:
        """Return the row of a server; None when it was not measured."""
        return next((row for row in self.rows if row.server == server), None)

    def ratios(self, key: str, server: str, other: str) -> list[float]:
        """Return one figure of two servers, divided within each round."""
        pairs = self._pairs(key, server, other)
        return [own / others for own, others in pairs if others]

    def differences(self, key: str, server: str, other: str) -> list[float]:
        """Return one figure of two servers, subtracted within each round."""
        return [own - others for own, others in self._pairs(key, server, other)]

    @property
    def table(self) -> Table:
        """Return all servers side by side, with a row for every figure."""
        title = f"{self.work}: {self.about}; median (lowest to highest)"
        lines = []
        for figure in WORKS[self.work].figures:
            spreads = [row.figures.get(figure.key) for row in self.rows]
            if any(spreads):
                texts = (figure.spread_text(each) if each else "—" for each in spreads)
                lines.append([figure.title, *texts])
        lines.insert(1, [RATIO, *(self._ratio_text(row.server) for row in self.rows)])
        if any(row.notes for row in self.rows):
            lines.append(["remarks", *("; ".join(row.notes) for row in self.rows)])
        return table(title, ("", *(row.server for row in self.rows)), lines)

    def _ratio_text(self, server: str) -> str:
        ratios = self.ratios(WORKS[self.work].figures[0].key, NODE, server)
        if server == NODE or not ratios:
            return ""
        ratio = statistics.median(ratios)
        return f"{ratio:,.{1 if ratio >= 10 else 2}f}"

    def _pairs(self, key: str, server: str, other: str) -> list[tuple[float, float]]:
        own, others = self.row(server), self.row(other)
        if own is None or others is None:
            return []
        return [
            (sample[key], beside[key])
            for sample, beside in zip(own.samples, others.samples, strict=True)
            if key in sample and key in beside
        ]


class Bar(msgspec.Struct):
    """What sse-node must reach, and whether it did."""

    work: str
    what: str
    limit: float
    spread: Spread | None
    """What was measured; None without a measurement, such as of a peer."""
    unit: str = ""
    digits: int = 2
    at_least: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the median is within the limit; None when it was not measured."""
        if self.spread is None:
            return None
        median = self.spread.median
        return median >= self.limit if self.at_least else median <= self.limit

    def cells(self) -> tuple[str, ...]:
        """Return the bar as a row."""
        figure = Figure("", "", self.unit, self.digits)
        limit = Figure("", "", self.unit, self.digits if self.limit % 1 else 0).text(self.limit)
        head = (self.work, self.what, f"{'≥' if self.at_least else '≤'} {limit}")
        if self.spread is None:
            return (*head, "not measured", "", "—")
        low, high = figure.text(self.spread.lowest), figure.text(self.spread.highest)
        state = "met" if self.met else "MISSED"
        return (*head, figure.text(self.spread.median), f"{low} to {high}", state)


class CompareResult(Result):
    """What `compare` found."""

    servers: list[str]
    skipped: list[str]
    """Peers that could not be measured, why, and the command that helps."""
    versions: dict[str, str]
    """The programs and packages of each peer."""
    outcomes: list[Outcome]
    bars: list[Bar]

    publishing: dict[str, str]
    """How events are published to each server."""

    @property
    def bar_table(self) -> Table:
        """Return the bars as a table."""
        columns = ("work", "sse-node", "bar", "median", "rounds", "")
        return table("bars", columns, (bar.cells() for bar in self.bars))

    @property
    def publishing_table(self) -> Table:
        """Return how events are published as a table."""
        return table("how events are published", ("server", ""), self.publishing.items())

    def tables(self) -> list[Table]:
        """Return the bars, a table for every workload, and how it was measured."""
        found = [self.bar_table, *(outcome.table for outcome in self.outcomes)]
        found.append(self.publishing_table)
        if self.skipped:
            found.append(table("not measured", ("",), ([line] for line in self.skipped)))
        return found


def contestants_of(cpu: int | None) -> Contestants:
    """Return the servers that are always measured."""
    return {NODE: lambda: SseNode(cpu, *ROOM), FLOOR: lambda: Floor(cpu)}


def run(
    settings: Settings,
    works: Sequence[str],
    rounds: int,
    core: int,
    peers: Contestants,
    skipped: Sequence[str],
    screen: Screen,
) -> CompareResult:
    """Measure. Raises ProcessError when it is sse-node or the floor that fails."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # child processes inherit it
    contestants = contestants_of(core) | peers
    outcomes = [
        _compare(WORKS[name], settings, rounds, core, contestants, screen) for name in works
    ]
    return CompareResult(
        servers=list(contestants),
        skipped=list(skipped),
        versions={name: PEERS[name].versions() for name in peers if name in PEERS},
        publishing={name: make().publishing for name, make in contestants.items()},
        outcomes=outcomes,
        bars=[bar for bar in bars_of(outcomes) if bar.work in works],
        problems=[
            f"sse-node at {outcome.work}: {note}"
            for outcome in outcomes
            for row in outcome.rows
            if row.server == NODE
            for note in row.notes
        ]
        + _unequal_frames(outcomes),
    )


def _unequal_frames(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the workloads whose node and floor sent different bytes and cannot be compared."""
    return [
        f"{outcome.work}: the node's frames have other sizes than the floor's"
        for outcome in outcomes
        if WORKS[outcome.work].with_floor
        and any(abs(ratio - 1) > _SAME_SIZE for ratio in outcome.ratios("frame_bytes", NODE, FLOOR))
    ]


def bars_of(outcomes: Sequence[Outcome]) -> list[Bar]:
    """Return all bars with what sse-node reached."""
    found = {outcome.work: outcome for outcome in outcomes}
    nothing = Outcome("", "", [])

    def own(work: str, key: str) -> Spread | None:
        row = found.get(work, nothing).row(NODE)
        return row.figures.get(key) if row else None

    def ratio(work: str, key: str, other: str) -> Spread | None:
        return spread_of(found.get(work, nothing).ratios(key, NODE, other))

    added_ms = spread_of(found.get("latency", nothing).differences("p50_ms", NODE, BARE))
    cpu, per_s = "CPU per", "deliveries_per_s"
    saturate = functools.partial(Bar, "saturate", at_least=True)
    return [
        Bar("fanout", f"{cpu} delivery : floor's", 1.20, ratio("fanout", "cpu_us", FLOOR)),
        saturate("deliveries/s : nchan's", 15, ratio("saturate", per_s, "nchan"), digits=1),
        saturate("deliveries", 1_500_000, own("saturate", per_s), "/s", 0),
        Bar("unicast", f"{cpu} event : nchan's", 0.45, ratio("unicast", "cpu_us", "nchan")),
        Bar("unicast", "p99 : nchan's", 1.5, ratio("unicast", "p99_ms", "nchan")),
        Bar("latency", "p50 added to a bare subscriber", 0.25, added_ms, "ms", 3),
        Bar("idle", "memory per stream", 2000, own("idle", "stream_bytes"), "B", 0),
        Bar("idle", f"{cpu} second and stream", 2.2, own("idle", "idle_us"), "µs"),
        Bar("open", "streams opened", 5000, own("open", "opened_per_s"), "/s", 0, at_least=True),
    ]


def _compare(
    work: Work,
    settings: Settings,
    rounds: int,
    core: int,
    contestants: Contestants,
    screen: Screen,
) -> Outcome:
    turns: dict[str, Callable[[], Sample]] = {
        name: functools.partial(_measure, work, settings, make, screen)
        for name, make in contestants.items()
        if name != FLOOR or work.with_floor
    }
    if work.name == "latency":
        turns[BARE] = functools.partial(measure_bare_latency, core, settings, screen)
    samples: dict[str, list[Sample]] = {name: [] for name in turns}
    for number in range(1, rounds + 1):
        for name, turn in turns.items():
            screen.step(f"{work.name}, round {number} of {rounds}: {name}")
            try:
                sample = turn()
            except (ProcessError, OSError) as error:
                if name in (NODE, FLOOR, BARE):
                    raise
                sample = Sample({}, notes=[f"failed: {_first_line(error)}"])
            samples[name].append(sample)
            notes = "; ".join(sample.notes)
            screen.add_row(work.name, str(number), name, _brief(work, sample), notes)
    return Outcome(
        work.name,
        work.about_of(settings),
        [_row(name, measured) for name, measured in samples.items()],
    )


def _measure(work: Work, settings: Settings, make: Callable[[], Server], screen: Screen) -> Sample:
    with make() as server:
        return work.measure(server, settings, screen)


def _row(server: str, samples: list[Sample]) -> Row:
    histograms = [sample.latency_ns for sample in samples if sample.latency_ns]
    curves = [sample.memory for sample in samples if sample.memory]
    return Row(
        server=server,
        samples=[sample.values for sample in samples],
        figures=spreads_of(samples),
        latency_ms=percentiles(histograms) if histograms else None,
        latency_curve=curve(histograms) if histograms else [],
        memory=[
            (points[0][0], round(statistics.median(size for _, size in points)))
            for points in zip(*curves, strict=True)
        ],
        notes=list(dict.fromkeys(note for sample in samples for note in sample.notes)),
    )


def _brief(work: Work, sample: Sample) -> str:
    shown = [figure for figure in work.figures if figure.key in sample.values][:1]
    shown += [figure for figure in work.figures if figure.key in ("p99_ms", "idle_us")]
    return ", ".join(
        f"{figure.title} {figure.text(sample.values[figure.key])}"
        for figure in shown
        if figure.key in sample.values
    )


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return " ".join((lines[0], *(line.strip() for line in lines[-1:] if len(lines) > 1)))

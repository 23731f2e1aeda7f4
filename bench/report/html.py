"""The report of `compare` as one HTML file: tables, plots and where it was measured.

It needs no other file and no script, so it can be sent or published as it is. The plots are SVG
with the page's own fonts and colours, which follow the reader's light or dark mode.
"""

import io
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path

import matplotlib
import msgspec
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Plot
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from bench.compare import BARE, FLOOR, NODE, Bar, CompareResult, Outcome, Row
from bench.measure.sample import Figure
from bench.report.tables import Environment, Table, table
from bench.workloads.work import Settings
from bench.workloads.works import WORKS

# Colours of the plots stand for variables of the page's style sheet.
_INK, _MUTED, _LINE = "#010101", "#020202", "#030303"
_SERIES = tuple(f"#0a0a{number:02x}" for number in range(8))
_VARIABLES = {
    _INK: "var(--ink)",
    _MUTED: "var(--muted)",
    _LINE: "var(--line)",
    **{color: f"var(--series-{number})" for number, color in enumerate(_SERIES)},
}

_PERCENTILES = ((2, "50"), (10, "90"), (100, "99"), (1e3, "99.9"), (1e4, "99.99"))

_STYLE = (Path(__file__).parent / "report.css").read_text("utf-8")
_METHOD = f"""
What is measured has a core for itself; the client, the sender and Redis share the others. Servers
take turns. Each is started for its measurement and ended after it. Every figure is the median of
the rounds, with the lowest and the highest round behind it.

Load is open-loop: every event is due by the clock, whatever became of the one before. Its latency
counts from when it was due to when the client read it, so it includes every stall of the server.
Latencies are kept in HDR histograms of three digits; the plots show all rounds together. A server
that cannot hold a rate is offered a lower rate, which the remarks report. CPU is the whole
server's, with the cost of receiving the events; memory is its proportional set size (PSS). TCP
buffers are the machine's, both ends, and grow when one end is too slow.

{FLOOR} is a C program that only sends the same bytes to the same sockets. {BARE} is a C program
that subscribes to Redis and reads.
"""


def render(where: Environment, settings: Settings, rounds: int, result: CompareResult) -> str:
    """Return the report of one run as HTML."""
    others = ", ".join(name for name in result.servers if name != NODE)
    written = datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC")
    colors = _colors(result)
    remarks = (*(f"Not measured: {line}." for line in result.skipped), *result.problems)
    sections = (
        _section("What sse-node must reach", _bars_text(result.bars), result.bar_table),
        *(
            _section(
                outcome.work,
                _paragraphs(f"{outcome.about}.") + _plots(outcome, colors),
                outcome.table,
                colors,
            )
            for outcome in result.outcomes
        ),
        _section("How it was measured", _paragraphs(_METHOD), result.publishing_table),
        _section("Remarks", _paragraphs("\n\n".join(remarks) or "None.")),
        _section("Where it was measured", "", _facts(where, **result.versions)),
        _section("Settings", "", _facts(settings, rounds=rounds)),
    )
    lead = (
        f"sse-node beside {others}: one process or worker of each, on the same core of "
        f"{where.machine}, {rounds} round{'s, in turn' if rounds > 1 else ''}. "
        f"Commit {where.commit}. Written {written}."
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>sse-node beside {escape(others)}</title>\n"
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>Event streams: sse-node and others at the same work</h1>\n{_paragraphs(lead)}"
        f"{''.join(sections)}</main>\n</body>\n</html>\n"
    )


def _bars_text(bars: Sequence[Bar]) -> str:
    states = [bar.met for bar in bars]
    return _paragraphs(
        f"{states.count(True)} of {len(states)} bars met, {states.count(False)} missed, "
        f"{states.count(None)} not measured. A ratio is taken within each round, of what was "
        "measured in the same minutes on the same core; the table has the median of the rounds."
    )


def _section(
    title: str, content: str, table: Table | None = None, colors: Mapping[str, str] | None = None
) -> str:
    shown = _table(table, colors or {}) if table else ""
    return f"<section>\n<h2>{escape(title)}</h2>\n{content}{shown}</section>\n"


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{escape(part)}</p>\n" for part in text.strip().split("\n\n"))


def _table(table: Table, colors: Mapping[str, str]) -> str:
    def heading(column: str) -> str:
        style = f' style="--mark:{_VARIABLES[colors[column]]}"' if column in colors else ""
        return f"<th{style}>{escape(column)}</th>"

    def cell(text: str) -> str:
        state = f' class="{text.lower()}"' if text in ("met", "MISSED") else ""
        return f"<td{state}>{escape(text)}</td>"

    lines = (f"<tr>{''.join(map(cell, row))}</tr>\n" for row in table.rows)
    return (
        '<div class="scroll"><table><thead><tr>'
        f"{''.join(map(heading, table.columns))}</tr></thead>"
        f"<tbody>\n{''.join(lines)}</tbody></table></div>\n"
    )


def _facts(struct: msgspec.Struct, **more: object) -> Table:
    facts = msgspec.structs.asdict(struct) | more
    return table("", ("", ""), [(name.replace("_", " "), str(facts[name])) for name in facts])


# Plots


def _colors(result: CompareResult) -> dict[str, str]:
    """Return a color for every server, the same in all plots."""
    names = [*result.servers, BARE]
    fixed = {NODE: _SERIES[0], FLOOR: _SERIES[1], BARE: _SERIES[7]}
    rest = [name for name in names if name not in fixed]
    return fixed | {name: _SERIES[2 + number % 5] for number, name in enumerate(rest)}


def _plots(outcome: Outcome, colors: Mapping[str, str]) -> str:
    """Return the plots of a workload, each with its caption."""
    work, figures = outcome.work, WORKS[outcome.work].figures
    drawn = []
    if any(row.memory for row in outcome.rows):
        caption = "Process memory against open streams; the slope is the cost of a stream."
        drawn.append((f"{work}-memory", _memory_plot(outcome.rows, colors), caption))
    for figure in figures:
        if work != "latency" and (figure is figures[0] or figure.key == "idle_us"):
            better = "more" if figure.unit == "/s" else "less"
            title = f"{figure.title[0].upper()}{figure.title[1:]}"
            caption = f"{title}, {better} is better; the line spans the rounds."
            drawn.append(
                (f"{work}-{figure.key}", _bars_plot(outcome.rows, figure, colors), caption)
            )
    if any(row.latency_curve for row in outcome.rows) and work != "saturate":
        caption = (
            "Latency by percentile, all rounds together, both axes logarithmic; lower is better."
        )
        drawn.append((f"{work}-latency", _latency_plot(outcome.rows, colors), caption))
    shown = "".join(
        f"<figure>{_svg(*each)}<figcaption>{escape(each[2])}</figcaption></figure>\n"
        for each in drawn
    )
    return f'<div class="plots">{shown}</div>\n'


def _axes(height: float = 3.6) -> tuple[Plot, Axes]:
    plot = Plot(figsize=(6.0, height), layout="constrained", facecolor="none")
    axes = plot.add_subplot(facecolor="none")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_LINE)
    axes.tick_params(which="both", colors=_MUTED, labelsize=10, length=0, pad=5)
    axes.set_axisbelow(True)
    return plot, axes


def _bars_plot(rows: Sequence[Row], figure: Figure, colors: Mapping[str, str]) -> Plot:
    drawn = [row for row in rows if figure.key in row.figures]
    plot, axes = _axes(0.55 + 0.42 * len(drawn))
    longest = max(row.figures[figure.key].highest for row in drawn) or 1.0
    for position, row in enumerate(drawn):
        spread = row.figures[figure.key]
        axes.barh(position, spread.median, height=0.56, color=colors[row.server])
        if spread.lowest != spread.highest:
            axes.plot([spread.lowest, spread.highest], [position] * 2, color=_INK, linewidth=1.2)
        axes.text(
            max(spread.median, spread.highest) + longest * 0.015,
            position,
            figure.text(spread.median),
            va="center",
            color=_INK,
            fontsize=10.5,
        )
    axes.set_yticks(range(len(drawn)), [row.server for row in drawn])
    axes.tick_params(axis="y", colors=_INK, labelsize=11)
    axes.invert_yaxis()
    axes.set_xlim(0, longest * 1.28)
    axes.xaxis.set_major_locator(NullLocator())
    axes.spines["bottom"].set_visible(False)
    return plot


def _latency_plot(rows: Sequence[Row], colors: Mapping[str, str]) -> Plot:
    plot, axes = _axes()
    rarest = 1.0
    for row in rows:
        if row.latency_curve:
            beyond = [100 / (100 - percentile) for percentile, _ in row.latency_curve]
            rarest = max(rarest, beyond[-1])
            axes.plot(
                beyond,
                [max(ms, 1e-3) for _, ms in row.latency_curve],
                color=colors[row.server],
                linewidth=2.4 if row.server == NODE else 1.6,
                label=row.server,
                zorder=3 if row.server == NODE else 2,
            )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(1, rarest)
    ticks = [(at, f"{label} %") for at, label in _PERCENTILES if at <= rarest]
    axes.set_xticks([at for at, _ in ticks], [label for _, label in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda ms, _: f"{ms:,g} ms"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(color=_LINE, linewidth=0.8)
    _add_legend(plot)
    return plot


def _memory_plot(rows: Sequence[Row], colors: Mapping[str, str]) -> Plot:
    plot, axes = _axes()
    for row in rows:
        if row.memory:
            axes.plot(
                [streams for streams, _ in row.memory],
                [size / 1e6 for _, size in row.memory],
                color=colors[row.server],
                linewidth=2.4 if row.server == NODE else 1.6,
                marker="o",
                markersize=4,
                label=row.server,
            )
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda streams, _: f"{streams:,.0f}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{size:,g} MB"))
    axes.set_xlabel("open streams", color=_MUTED, fontsize=10)
    axes.grid(color=_LINE, linewidth=0.8)
    _add_legend(plot)
    return plot


def _add_legend(plot: Plot) -> None:
    plot.legend(
        loc="outside upper left",
        ncols=4,
        frameon=False,
        labelcolor=_INK,
        fontsize=10.5,
        handlelength=1.2,
        columnspacing=1.4,
    )


def _svg(name: str, plot: Plot, label: str) -> str:
    """Return a plot as an element of the page, with the page's colours and fonts."""
    output = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        plot.savefig(output, format="svg", metadata={"Date": None})
    text = output.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text)
    text = text.replace("xlink:href", "href")
    text = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", text)
    for color, variable in _VARIABLES.items():
        text = text.replace(color, variable)
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1)

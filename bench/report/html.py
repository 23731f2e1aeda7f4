"""The report of `compare` as one HTML file: tables, plots and where it was measured.

It holds everything it shows, so it can be sent or published as it is, and it needs no script. The
plots are SVG with the page's own fonts and colours, which follow the reader's light or dark mode.
"""

import io
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path

import matplotlib
import msgspec
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Plot
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from bench.compare import (
    BARE,
    FLOOR,
    NODE,
    RATIO,
    Bar,
    CompareResult,
    Outcome,
    Row,
    ratio_text,
)
from bench.measure.sample import Figure, Spread
from bench.report.tables import Environment
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


def write(
    path: Path, where: Environment, settings: Settings, rounds: int, result: CompareResult
) -> None:
    """Write the report of one run."""
    path.write_text(render(where, settings, rounds, result), encoding="utf-8")


def render(where: Environment, settings: Settings, rounds: int, result: CompareResult) -> str:
    """The report of one run as HTML."""
    others = [name for name in result.servers if name != NODE]
    written = datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC")
    colors = _colors(result)
    return "".join(
        (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
            f"<title>sse-node beside {escape(', '.join(others))}</title>\n",
            f"<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n",
            "<header>\n<h1>Event streams: sse-node and others at the same work</h1>\n",
            f'<p class="lead">{_lead(where, rounds, others)} Written {written}.</p>\n</header>\n',
            _bars_section(result.bars),
            *(_outcome_section(outcome, colors) for outcome in result.outcomes),
            _method_section(rounds, result),
            _facts_section(
                "Where it was measured", {**msgspec.structs.asdict(where), **result.versions}
            ),
            _facts_section("Settings", {"rounds": rounds, **msgspec.structs.asdict(settings)}),
            "</main>\n</body>\n</html>\n",
        )
    )


def _lead(where: Environment, rounds: int, others: Sequence[str]) -> str:
    turns = "one round" if rounds == 1 else f"{rounds} rounds, in turn"
    return escape(
        f"sse-node beside {', '.join(others)}: one process or worker of each, on the same core of "
        f"{where.machine}, {turns}. Commit {where.commit}."
    )


def _bars_section(bars: Sequence[Bar]) -> str:
    states = [bar.met for bar in bars]
    counts = (
        f"{states.count(True)} of {len(states)} bars met, {states.count(False)} missed, "
        f"{states.count(None)} not measured."
    )
    lines = []
    for bar in bars:
        work, what, limit, median, spread, state = bar.cells()
        mark = f'<span class="state {state.lower()}">{state.lower()}</span>'
        lines.append(
            f"<tr><td>{escape(work)}</td><td>{escape(what)}</td>"
            f'<td class="value">{escape(limit)}</td><td class="value"><b>{escape(median)}</b></td>'
            f'<td class="value">{escape(spread)}</td>'
            f"<td>{mark if bar.met is not None else state}</td></tr>\n"
        )
    head = "".join(f"<th>{name}</th>" for name in ("work", "", "bar", "measured", "rounds", ""))
    return (
        "<section>\n<h2>What sse-node must reach</h2>\n"
        f'<p class="about">{counts} A ratio is taken within each round, of '
        "what was measured in the same minutes on the same core; then their median.</p>\n"
        f'<div class="scroll"><table class="left"><thead><tr>{head}</tr></thead>'
        f"<tbody>\n{''.join(lines)}</tbody></table></div>\n</section>\n"
    )


def _outcome_section(outcome: Outcome, colors: dict[str, str]) -> str:
    plots = "".join(_plots(outcome, colors))
    return (
        f"<section>\n<h2>{escape(outcome.work)}</h2>\n"
        f'<p class="about">{escape(outcome.about)}.</p>\n'
        f'<div class="plots">{plots}</div>\n'
        f"{_table(outcome, colors)}{_remarks(outcome)}</section>\n"
    )


def _table(outcome: Outcome, colors: dict[str, str]) -> str:
    figures = [
        figure
        for figure in WORKS[outcome.work].figures
        if any(figure.key in row.figures for row in outcome.rows)
    ]
    head = "".join(
        f'<th><span class="mark" style="background:{_VARIABLES[colors[row.server]]}"></span>'
        f"{escape(row.server)}</th>"
        for row in outcome.rows
    )
    lines = []
    for number, figure in enumerate(figures):
        cells = "".join(_cell(figure, row.figures.get(figure.key)) for row in outcome.rows)
        kind = ' class="main"' if number == 0 else ""
        lines.append(f"<tr{kind}><td>{escape(figure.title)}</td>{cells}</tr>\n")
    ratios = "".join(f"<td>{ratio_text(outcome, row.server)}</td>" for row in outcome.rows)
    lines.insert(1, f"<tr><td>{escape(RATIO)}</td>{ratios}</tr>\n")
    return (
        f'<div class="scroll"><table><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>\n{''.join(lines)}</tbody></table></div>\n"
    )


def _cell(figure: Figure, spread: Spread | None) -> str:
    if spread is None:
        return "<td>—</td>"
    text = f'<span class="value">{escape(figure.text(spread.median))}</span>'
    if spread.lowest != spread.highest:
        bare = Figure("", "", "", figure.digits)
        low, high = bare.text(spread.lowest), bare.text(spread.highest)
        text += f'<span class="range">{low} to {high}</span>' if low != high else ""
    return f"<td>{text}</td>"


def _remarks(outcome: Outcome) -> str:
    lines = "".join(
        f"<li><b>{escape(row.server)}</b>: {escape(note)}</li>\n"
        for row in outcome.rows
        for note in row.notes
    )
    return f'<div class="note"><ul>\n{lines}</ul></div>\n' if lines else ""


def _method_section(rounds: int, result: CompareResult) -> str:
    skipped = "".join(f"<li>Not measured: {escape(line)}.</li>\n" for line in result.skipped)
    problems = "".join(f"<li>{escape(problem)}</li>\n" for problem in result.problems)
    return (
        "<section>\n<h2>How it was measured</h2>\n"
        "<p>What is measured has a core for itself; the client, the sender and Redis share the "
        "others. One server runs at a time, is started for its measurement and ended after it, and "
        f"servers take turns through {rounds} round{'s' if rounds > 1 else ''}. Every figure is a "
        "median with the lowest and the highest round below it.</p>\n"
        "<p>Load is open-loop: every event is due by the clock, whatever became of the one before, "
        "and its latency counts from when it was due to when the client read it, so a server that "
        "stalls cannot hide it. Latencies are kept in HDR histograms of three digits; the plots "
        "hold all rounds together. A server that cannot hold a rate is offered one that it can, "
        "and the remarks say so. CPU is the whole server's, with what it takes to receive the "
        "events; memory is its proportional set size (PSS). TCP buffers are the machine's, "
        "both ends, and grow where somebody does not keep up.</p>\n"
        f"<p><b>{FLOOR}</b> is a C program that does nothing but <code>send()</code> the same "
        f"bytes to the same sockets. <b>{BARE}</b> is a C program that subscribes and reads. nchan "
        "is published to by pipelined HTTP POST on one connection, the others by Redis "
        "Pub/Sub.</p>\n"
        f'<div class="note"><ul>{skipped}{problems}</ul></div>\n</section>\n'
    )


def _facts_section(title: str, facts: dict[str, object]) -> str:
    lines = "".join(
        f"<tr><td>{escape(name.replace('_', ' '))}</td><td><code>{escape(str(value))}</code></td>"
        "</tr>\n"
        for name, value in facts.items()
    )
    return (
        f"<section>\n<h2>{title}</h2>\n"
        f'<table class="facts"><tbody>\n{lines}</tbody></table>\n</section>\n'
    )


# Plots


def _colors(result: CompareResult) -> dict[str, str]:
    """A color for every server, the same in all plots."""
    names = [*result.servers, BARE]
    fixed = {NODE: _SERIES[0], FLOOR: _SERIES[1], BARE: _SERIES[7]}
    rest = [name for name in names if name not in fixed]
    return fixed | {name: _SERIES[2 + number % 5] for number, name in enumerate(rest)}


def _plots(outcome: Outcome, colors: dict[str, str]) -> list[str]:
    """What is drawn of a work."""
    main = WORKS[outcome.work].figures[0]
    drawn = []
    if any(row.memory for row in outcome.rows):
        drawn.append(
            _figure(
                f"{outcome.work}-memory",
                _memory_plot(outcome.rows, colors),
                "Process memory against open streams; the slope is what a stream costs.",
            )
        )
    if outcome.work != "latency":
        drawn += [
            _figure(
                f"{outcome.work}-{figure.key}",
                _bars_plot(outcome.rows, figure, colors),
                f"{figure.title[0].upper()}{figure.title[1:]}, {_better(figure)} is better; the "
                "line spans the rounds.",
            )
            for figure in WORKS[outcome.work].figures
            if figure in (main, *_ALSO_DRAWN.get(outcome.work, ()))
        ]
    if any(row.latency_curve for row in outcome.rows) and outcome.work != "saturate":
        drawn.append(
            _figure(
                f"{outcome.work}-latency",
                _latency_plot(outcome.rows, colors),
                "Latency by percentile, all rounds together, both axes logarithmic; lower is "
                "better.",
            )
        )
    return drawn


_ALSO_DRAWN = {
    "idle": [figure for figure in WORKS["idle"].figures if figure.key == "idle_us"],
}


def _better(figure: Figure) -> str:
    return "more" if figure.unit == "/s" else "less"


def _figure(name: str, plot: Plot, caption: str) -> str:
    return (
        f"<figure>{_svg(name, plot, caption)}<figcaption>{escape(caption)}</figcaption></figure>\n"
    )


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


def _bars_plot(rows: Sequence[Row], figure: Figure, colors: dict[str, str]) -> Plot:
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


def _latency_plot(rows: Sequence[Row], colors: dict[str, str]) -> Plot:
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


def _memory_plot(rows: Sequence[Row], colors: dict[str, str]) -> Plot:
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
    """The plot as an element of the page: its colours, its fonts, names of its own."""
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

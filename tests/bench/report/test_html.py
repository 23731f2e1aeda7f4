"""The report contains every part of a result, and refers to no other file."""

import re
from html.parser import HTMLParser

from bench.compare import BARE, FLOOR, NODE, CompareResult, Outcome, Row, bars_of
from bench.measure.sample import Spread
from bench.report import html as html_report
from bench.report.tables import environment, percentiles
from bench.workloads.work import Settings
from bench.workloads.works import WORKS

SERVERS = [NODE, FLOOR, "nchan", "<odd & server>"]
CURVE = [(0.0, 0.5), (90.0, 2.0), (99.0, 9.5), (99.99, 20.0)]
VOID = {"meta", "br"}


class Page(HTMLParser):
    """Checks that elements are nested correctly; records text and addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            elif name in ("href", "src"):
                self.addresses.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def made_up_row(work: str, server: str) -> Row:
    value = 3.0 if server == NODE else 7.0
    figures = WORKS[work].figures
    latency = [(1_000_000 * ms, 1000 - ms) for ms in range(1, 100)]
    return Row(
        server=server,
        samples=[{figure.key: value for figure in figures}] * 2,
        figures={figure.key: Spread(value - 1, value, value + 1) for figure in figures},
        latency_ms=percentiles([latency]),
        latency_curve=CURVE if "p50_ms" in {figure.key for figure in figures} else [],
        memory=[(0, 10_000_000), (1000, 12_000_000)] if work == "idle" else [],
        notes=["lost 5 of 10"] if server == "nchan" else [],
    )


def made_up_result() -> CompareResult:
    outcomes = []
    for name, work in WORKS.items():
        servers = [*SERVERS, BARE] if name == "latency" else list(SERVERS)
        if not work.with_floor:
            servers.remove(FLOOR)
        outcomes.append(Outcome(name, f"about {name}", [made_up_row(name, s) for s in servers]))
    return CompareResult(
        problems=[],
        servers=SERVERS,
        skipped=["nestjs: its npm packages are not installed; `make peers` installs it"],
        versions={"nchan": "nginx 1.0"},
        outcomes=outcomes,
        bars=bars_of(outcomes),
        publishing={"nchan": "by HTTP POST"},
    )


def test_every_part_is_on_the_page() -> None:
    where, settings = environment(), Settings()
    text = html_report.render(where, settings, 2, made_up_result())
    page = Page()
    page.feed(text)
    page.close()
    assert page.open == []
    for shown in (*SERVERS, *(f"about {name}." for name in WORKS), where.machine, where.command):
        assert shown in page.text
    assert "<odd" not in text
    assert page.text.count("lost 5 of 10") == len(WORKS)
    assert "make peers" in page.text
    assert "nginx 1.0" in page.text
    assert "by HTTP POST" in page.text
    assert page.seen.count("svg") == page.seen.count("figcaption") == 10
    assert {"99 %", "99.9 %", "10 MB", "open streams"} <= set(re.findall(r">([^<>]+)</text>", text))
    for bar in made_up_result().bars:
        assert bar.what in page.text


def test_the_page_needs_nothing_else() -> None:
    text = html_report.render(environment(), Settings(), 2, made_up_result())
    page = Page()
    page.feed(text)
    assert "script" not in page.seen
    assert "://" not in text
    assert [address for address in page.addresses if not address.startswith("#")] == []
    assert {address[1:] for address in page.addresses} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))


def test_plots_take_the_colours_of_the_page() -> None:
    text = html_report.render(environment(), Settings(), 2, made_up_result())
    plots = "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))
    assert "var(--ink)" in plots
    assert "var(--series-0)" in plots
    assert re.findall(r"#[0-9a-f]{6}", plots) == []


def test_a_result_without_peers_is_a_page_too() -> None:
    outcome = Outcome("fanout", "about", [made_up_row("fanout", NODE)])
    outcome.rows[0].latency_curve = []
    result = CompareResult([], [NODE], [], {}, [outcome], bars_of([outcome]), {})
    assert "not measured" in html_report.render(environment(), Settings(), 1, result)

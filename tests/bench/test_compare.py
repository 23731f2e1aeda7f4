"""Servers run the same workload in turn; failures are reported and bars evaluated."""

import os

import pytest

from bench import compare
from bench.compare import BARE, FLOOR, NODE, Outcome, Row, bars_of
from bench.harness import ProcessError
from bench.harness.c_program import has_compiler
from bench.harness.servers import Server, SseNode
from bench.measure.sample import Spread
from bench.report.tables import Screen
from bench.targets import PEERS
from bench.workloads.work import Settings
from bench.workloads.works import WORKS

CORE = max(os.sched_getaffinity(0))
SMALL = Settings(
    measured_s=0.3,
    warmup_s=0.1,
    fanout_streams=10,
    fanout_rate=100,
    saturate_streams=10,
    saturate_events=50,
    unicast_users=10,
    unicast_rate=200,
    idle_streams=40,
    idle_s=0.5,
    open_streams=30,
)


def row(server: str, **values: list[float]) -> Row:
    samples = [dict(zip(values, each, strict=True)) for each in zip(*values.values(), strict=True)]
    spreads = {key: Spread(min(each), each[0], max(each)) for key, each in values.items()}
    return Row(server, samples, spreads, None, [], [], [])


def run(works: list[str], peers: compare.Contestants, rounds: int = 1) -> compare.CompareResult:
    with Screen("compare", compare.COLUMNS) as screen:
        return compare.run(SMALL, works, rounds, CORE, peers, ["x: not there"], screen)


@pytest.mark.integration
@pytest.mark.skipif(not has_compiler(), reason="no C compiler")
def test_every_server_runs_every_workload() -> None:
    nchan = PEERS["nchan"]
    assert nchan.missing() == ""
    result = run(list(WORKS), {"nchan": lambda: nchan(CORE)})
    assert [outcome.work for outcome in result.outcomes] == list(WORKS)
    for outcome in result.outcomes:
        servers = [found.server for found in outcome.rows]
        assert servers == [
            NODE,
            *([FLOOR] if WORKS[outcome.work].with_floor else []),
            "nchan",
            *([BARE] if outcome.work == "latency" else []),
        ]
        assert all(len(found.samples) == 1 and all(found.samples) for found in outcome.rows)
        main = WORKS[outcome.work].figures[0].key
        assert all(main in found.figures for found in outcome.rows)
        own = outcome.row(NODE)
        assert own is not None
        assert own.figures.keys() >= {figure.key for figure in WORKS[outcome.work].figures}
        assert (own.latency_ms is not None) == (outcome.work not in ("idle", "open"))
        assert [streams for streams, _ in own.memory] == (
            [0, 10, 20, 30, 40] if outcome.work == "idle" else []
        )
    # A server that used no tick of CPU time has no ratio.
    assert all(bar.met is not None for bar in result.bars if "CPU per" not in bar.what)
    assert len(result.tables()) == 1 + len(WORKS) + 2
    assert list(result.publishing) == [NODE, FLOOR, "nchan"]
    assert "batches of" in result.publishing["nchan"]
    assert result.skipped == ["x: not there"]


@pytest.mark.integration
@pytest.mark.skipif(not has_compiler(), reason="no C compiler")
def test_servers_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[str] = []
    monkeypatch.setattr(
        Screen, "add_row", lambda _, work, number, server, *cells: turns.append(number + server)
    )
    (outcome,) = run(["fanout"], {}, rounds=2).outcomes
    assert turns == ["1sse-node", "1floor", "2sse-node", "2floor"]
    assert len(outcome.ratios("cpu_us", NODE, FLOOR)) <= 2
    own = outcome.row(NODE)
    assert own is not None
    assert own.latency_ms is not None
    events = sum(sample["events"] for sample in own.samples)
    assert own.latency_ms.count == events * SMALL.fanout_streams


class Broken(SseNode):
    """Rejects all streams."""

    name = "broken"

    def target(self, user: str) -> str:
        return f"/no-such-path/{user}"


@pytest.mark.integration
@pytest.mark.skipif(not has_compiler(), reason="no C compiler")
def test_a_failed_peer_is_reported_and_the_others_continue() -> None:
    (outcome,) = run(["open"], {"broken": lambda: Broken(CORE)}).outcomes
    own, broken = outcome.row(NODE), outcome.row("broken")
    assert own is not None
    assert broken is not None
    assert own.figures
    assert broken.figures == {}
    assert broken.notes[0].startswith("failed: client ended instead of answering")
    assert any("failed" in cell for cells in outcome.table.rows for cell in cells)


@pytest.mark.integration
@pytest.mark.skipif(not has_compiler(), reason="no C compiler")
def test_the_node_itself_must_not_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def contestants(cpu: int | None) -> compare.Contestants:
        return {NODE: lambda: Broken(cpu)}

    monkeypatch.setattr(compare, "contestants_of", contestants)
    with pytest.raises(ProcessError, match="404"):
        run(["open"], {})


@pytest.mark.integration
@pytest.mark.skipif(not has_compiler(), reason="no C compiler")
def test_a_slow_server_is_offered_a_lower_rate_with_a_note() -> None:
    settings = Settings(measured_s=0.2, warmup_s=0.2, unicast_users=10, unicast_rate=100_000)

    def measure(server: Server) -> tuple[float, list[str]]:
        with server, Screen("unicast", ()) as screen:
            sample = WORKS["unicast"].measure(server, settings, screen)
        return sample.values["offered_per_s"], sample.notes

    offered, notes = measure(PEERS["starlette"](CORE))
    assert 1000 <= offered < 100_000
    assert notes[0].startswith("cannot hold 100,000 events/s")


def test_bars_use_the_median_of_ratios_within_rounds() -> None:
    outcomes = [
        Outcome(
            "fanout",
            "",
            [row(NODE, cpu_us=[10.0, 12.0, 30.0]), row(FLOOR, cpu_us=[10.0, 10.0, 30.0])],
        ),
        Outcome(
            "saturate",
            "",
            [row(NODE, deliveries_per_s=[1.4e6]), row("nchan", deliveries_per_s=[1e5])],
        ),
        Outcome("latency", "", [row(NODE, p50_ms=[0.5]), row(BARE, p50_ms=[0.2])]),
    ]
    judged = {(bar.work, bar.what): (bar.met, bar.spread) for bar in bars_of(outcomes)}
    assert judged["fanout", "CPU per delivery : floor's"] == (True, Spread(1.0, 1.0, 1.2))
    assert judged["saturate", "deliveries/s : nchan's"][0] is False
    assert judged["saturate", "deliveries"][0] is False
    assert judged["latency", "p50 added to a bare subscriber"][0] is False
    assert judged["unicast", "p99 : nchan's"] == (None, None)
    cells = [bar.cells() for bar in bars_of(outcomes)]
    assert [each[-1] for each in cells[:3]] == ["met", "MISSED", "MISSED"]
    assert cells[2][2:5] == ("≥ 1,500,000 /s", "1,400,000 /s", "1,400,000 /s to 1,400,000 /s")


def test_a_failed_round_has_no_ratio() -> None:
    outcome = Outcome("open", "", [row(NODE, opened_per_s=[1.0, 6.0]), row("x", cpu_us=[1.0, 1.0])])
    other = outcome.rows[1]
    other.samples[1] = {"opened_per_s": 3.0}
    assert outcome.ratios("opened_per_s", NODE, "x") == [2.0]
    assert outcome.ratios("opened_per_s", NODE, "y") == []

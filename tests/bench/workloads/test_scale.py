"""Streams over several processes: combined results, and real processes, with small settings."""

import pytest

from bench.harness.c_program import has_compiler
from bench.measure.load import Heard, Opened
from bench.report.tables import Screen
from bench.workloads import scale

INTERVAL_S = 15.0


def heard(**changes: int) -> Heard:
    figures = {
        "streams": 10,
        "alive": 10,
        "pings": 30,
        "fewest": 3,
        "shortest_ns": 14_900_000_000,
        "longest_ns": 15_200_000_000,
        "silent_ns": 14_000_000_000,
    }
    return Heard(**figures | changes, cpu_s=0.1)


@pytest.mark.parametrize(
    ("streams", "descriptors", "cores", "workers"),
    [(10, 20_000, 2, 2), (17_000, 20_000, 1, 1), (100_000, 20_000, 2, 6), (100_000, 10**6, 2, 2)],
)
def test_workers_have_room_to_spare(
    streams: int, descriptors: int, cores: int, workers: int
) -> None:
    assert scale.workers_for(streams, descriptors, cores) == workers


def test_openings_at_the_same_time_are_one() -> None:
    opened = [
        Opened(10, 0, 1.0, 0.25, refused=1, start_ns=5_000_000_000, end_ns=6_000_000_000),
        Opened(20, 0, 1.0, 0.5, refused=2, start_ns=5_500_000_000, end_ns=6_500_000_000),
    ]
    opening = scale.opening_of(opened, cpu_s=1.25)
    assert opening == {
        "streams": 30,
        "opening_s": 1.5,
        "opened_per_s": 20,
        "refused": 3,
        "opening_cpu_s": 1.25,
        "opening_client_cpu_s": 0.75,
    }


def test_pings_of_all_clients_are_their_extremes() -> None:
    pings = scale.pings_of([heard(), heard(fewest=2, longest_ns=15_900_000_000)], 46, 15, cpu_s=1)
    assert pings["fewest_pings"] == 2
    assert (pings["shortest_s"], pings["longest_s"]) == (14.9, 15.9)
    assert pings["idle_us"] == pytest.approx(1e6 / 46 / 20)
    assert pings["on_time"]


@pytest.mark.parametrize(
    "change",
    [
        {"shortest_ns": 13_900_000_000},
        {"longest_ns": 16_100_000_000},
        {"silent_ns": 16_100_000_000},
        {"fewest": 1},
    ],
)
def test_one_ping_that_is_not_on_time_is_enough(change: dict[str, int]) -> None:
    assert not scale.pings_of([heard(), heard(**change)], 46, INTERVAL_S, cpu_s=1)["on_time"]


@pytest.mark.integration
@pytest.mark.skipif(not has_compiler(), reason="no C compiler")
@pytest.mark.parametrize("as_nodes", [False, True], ids=["workers", "nodes"])
def test_all_streams_open_and_receive_pings_and_broadcasts(as_nodes: bool) -> None:
    settings = scale.Settings(
        streams=60,
        workers=2,
        as_nodes=as_nodes,
        at_once=10,
        ping_interval_s=0.2,
        intervals=2,
        broadcasts=2,
        payload_bytes=200,
    )
    with Screen("scale", scale.COLUMNS) as screen:
        result = scale.run(settings, screen)
    assert result.problems == []
    (measured,) = result.samples["all streams"]
    assert measured["processes"] == (2 if as_nodes else 3)
    assert measured["streams"] == measured["fewest_streams"] + measured["most_streams"] == 60
    assert measured["fewest_pings"] > 2
    assert 0 < measured["shortest_s"] <= measured["longest_s"]
    assert [broadcast["seconds"] > 0 for broadcast in result.samples["broadcasts"]] == [True, True]
    assert measured["process_bytes"] > 20_000_000
    assert len(result.tables()[0].rows) == 10

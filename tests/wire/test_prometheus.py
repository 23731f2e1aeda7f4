"""Numbers as Prometheus reads them."""

import msgspec
import pytest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families

from sse_node.delivery.histogram import LATENCY_BOUNDS_S, Histogram
from sse_node.wire.prometheus import (
    CONTENT_TYPE,
    PackedFamily,
    expose,
    histogram_family,
    pack,
    unpack,
)


def samples_of(histogram: Histogram) -> dict[str, float]:
    """Return the numbers of a histogram as they are exposed: by bound, and sum and count."""
    (family,) = text_string_to_metric_families(
        expose(
            [
                histogram_family(
                    "a_seconds", "A.", LATENCY_BOUNDS_S, histogram.counts, histogram.sum_s
                )
            ]
        ).decode()
    )
    assert (family.name, family.documentation, family.type) == ("a_seconds", "A.", "histogram")
    return {
        sample.labels.get("le", sample.name.removeprefix("a_seconds_")): sample.value
        for sample in family.samples
    }


def test_families_are_exposed_as_text() -> None:
    gauge = GaugeMetricFamily("a", "An A.", value=2)
    counter = CounterMetricFamily("b", "A B.", labels=["c"])
    counter.add_metric(['d"\\'], 3)
    assert expose([gauge, counter]) == (
        b"# HELP a An A.\n# TYPE a gauge\na 2.0\n"
        b'# HELP b_total A B.\n# TYPE b_total counter\nb_total{c="d\\"\\\\"} 3.0\n'
    )
    assert CONTENT_TYPE.startswith(b"text/plain; version=")


def test_nothing_is_exposed_of_no_families() -> None:
    assert expose([]) == b""


@pytest.mark.parametrize(
    ("seconds", "bound"),
    [
        (0.0, "0.0005"), (0.0005, "0.0005"), (0.00051, "0.001"), (0.07, "0.1"), (1.0, "1.0"),
        (10.0, "10.0"), (10.1, "+Inf"), (float("inf"), "+Inf"),
    ],
)  # fmt: skip
def test_observation_is_counted_in_every_bucket_from_its_own(seconds: float, bound: str) -> None:
    histogram = Histogram()
    histogram.observe(seconds)
    samples = samples_of(histogram)
    bounds = [*map(str, LATENCY_BOUNDS_S), "+Inf"]
    assert [samples[each] for each in bounds] == [
        float(bounds.index(each) >= bounds.index(bound)) for each in bounds
    ]
    assert samples["count"] == 1
    assert samples["sum"] == seconds


def test_observations_add_up() -> None:
    histogram = Histogram()
    assert samples_of(histogram)["count"] == 0
    for _ in range(3):
        histogram.observe(0.25)
    samples = samples_of(histogram)
    assert (samples["0.2"], samples["0.5"], samples["+Inf"]) == (0, 3, 3)
    assert (samples["count"], samples["sum"]) == (3, 0.75)


def through_the_wire(families: list[PackedFamily]) -> list[PackedFamily]:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(families), type=list[PackedFamily])


def test_families_of_several_processes_are_one_with_samples_apart_by_pid() -> None:
    def families(number: float) -> list[PackedFamily]:
        gauge = GaugeMetricFamily("a", "An A.", value=number)
        counter = CounterMetricFamily("b", "A B.", labels=["c"])
        counter.add_metric(["d"], number)
        counter.add_metric(["e"], 0)
        histogram = Histogram()
        histogram.observe(number)
        family = histogram_family(
            "s_seconds", "An S.", LATENCY_BOUNDS_S, histogram.counts, histogram.sum_s
        )
        return through_the_wire(pack([gauge, counter, family]))

    unpacked = unpack({"17": families(1), "4": families(2)})
    parsed = list(text_string_to_metric_families(expose(unpacked).decode()))
    assert [(family.name, family.type) for family in parsed] == [
        ("a", "gauge"), ("b", "counter"), ("s_seconds", "histogram"),
    ]  # fmt: skip
    values = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in parsed
        for sample in family.samples
    }
    assert values["a", ("worker", "17")] == 1
    assert values["a", ("worker", "4")] == 2
    assert values["b_total", ("c", "d"), ("worker", "4")] == 2
    assert values["b_total", ("c", "e"), ("worker", "17")] == 0
    assert values["s_seconds_bucket", ("le", "1.0"), ("worker", "17")] == 1
    assert values["s_seconds_bucket", ("le", "1.0"), ("worker", "4")] == 0
    assert values["s_seconds_sum", ("worker", "4")] == 2


def test_a_family_that_only_one_process_has_is_there() -> None:
    families = pack([GaugeMetricFamily("a", "An A.", value=1)])
    assert expose(unpack({"1": [], "2": families})) == (
        b'# HELP a An A.\n# TYPE a gauge\na{worker="2"} 1.0\n'
    )
    assert unpack({}) == []

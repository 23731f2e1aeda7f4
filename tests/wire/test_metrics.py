"""Numbers as Prometheus reads them."""

import pytest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families

from sse_node.wire.metrics import CONTENT_TYPE, LATENCY_BOUNDS_S, Histogram, expose


def samples_of(histogram: Histogram) -> dict[str, float]:
    """Return the numbers of a histogram as they are exposed: by bound, and sum and count."""
    (family,) = text_string_to_metric_families(
        expose([histogram.family("a_seconds", "A.")]).decode()
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

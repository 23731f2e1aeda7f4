"""The bridges under faults: a smaller run of `python -m bench bridge-chaos`."""

import pytest

from bench.bridges.torture import COLUMNS, Settings, run
from bench.report.tables import Screen

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(Settings(records=4000, rate=400, partitions=4, kills=3), id="kafka"),
        pytest.param(Settings(records=3000, rate=300, partitions=2, kills=3, amqp=True), id="amqp"),
    ],
)
def test_every_record_is_at_its_stream_once_and_in_order(settings: Settings) -> None:
    with Screen("bridge-chaos", COLUMNS) as screen:
        result = run(settings, screen)
    assert result.verdict == ""
    assert result.seen == result.records == settings.records
    assert len(result.faults) == (6 if settings.amqp else 8)

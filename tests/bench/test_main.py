"""The command line."""

import shlex

import pytest
from click.testing import CliRunner

from bench.__main__ import main


def test_without_a_name_it_lists_the_benchmarks() -> None:
    result = CliRunner().invoke(main, [])
    assert result.exit_code == 0
    assert "fanout" in result.output
    assert "saturate" in result.output


@pytest.mark.parametrize("line", ["fanout --streams 0", "saturate --payload 10", "no-such-bench"])
def test_what_cannot_be_measured_is_refused(line: str) -> None:
    result = CliRunner().invoke(main, shlex.split(line))
    assert result.exit_code == 2
    assert "Error" in result.output

"""What tests of every folder may ask for: real servers that speak Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench.processes import RedisProcess, valkey_binary

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisProcess]:
    """A Redis for all tests that neither stop it nor empty it."""
    with RedisProcess() as process:
        yield process


@pytest.fixture(scope="session")
def valkey() -> Iterator[RedisProcess]:
    """A Valkey for all tests that neither stop it nor empty it."""
    with RedisProcess(valkey_binary()) as process:
        yield process

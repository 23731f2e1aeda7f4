"""The event loops that the tests of this folder run on, and connections that end with them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import uvloop

from tests.support.door import Client, Door
from tests.support.fakes import FakeClockLoop, FakeTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


def pytest_asyncio_loop_factories(
    item: pytest.Item,
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Name the loops that a test chooses from with `pytest.mark.asyncio(loop_factories=[…])`."""
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
        "asyncio": asyncio.SelectorEventLoop
    }
    marker = item.get_closest_marker("asyncio")
    if marker is not None and "loop_factories" in marker.kwargs:
        loops |= {"uvloop": uvloop.new_event_loop, "fake clock": FakeClockLoop}
    return loops


@pytest.fixture
async def clock() -> FakeClockLoop:
    """The running loop, whose time can be moved."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, FakeClockLoop)
    return loop


@pytest.fixture
def make_transport() -> Iterator[Callable[..., FakeTransport]]:
    """Make fake transports whose sockets are closed after the test."""
    made: list[FakeTransport] = []

    def make(send_buffer_bytes: int | None = None) -> FakeTransport:
        made.append(FakeTransport(send_buffer_bytes))
        return made[-1]

    yield make
    for transport in made:
        transport.dispose()


@pytest.fixture
async def door() -> Door:
    """A site whose requests and streams are noted."""
    return Door()


@pytest.fixture
def connect(
    door: Door, make_transport: Callable[[int | None], FakeTransport]
) -> Callable[..., Client]:
    """Connect clients to the door; the kernel holds so many bytes for each."""

    def connect(send_buffer_bytes: int | None = None) -> Client:
        return Client(door, make_transport(send_buffer_bytes))

    return connect

"""A task that runs as long as its owner."""

import asyncio

from sse_node.lifetimes.background_task import BackgroundTask
from tests.support.fakes import settle


async def test_it_runs_until_the_shutdown() -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def run() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    task = BackgroundTask(run)
    states = [task.is_running]
    task.start()
    await started.wait()
    states.append(task.is_running)
    await task.shutdown()
    assert ended.is_set()
    assert [*states, task.is_running] == [False, True, False]


async def test_it_is_started_once_and_again_when_it_has_ended() -> None:
    runs = 0
    go_on = asyncio.Event()

    async def run() -> None:
        nonlocal runs
        runs += 1
        await go_on.wait()

    task = BackgroundTask(run)
    task.start()
    task.start()
    await settle()
    assert runs == 1
    go_on.set()
    await settle()
    task.start()
    await settle()
    assert runs == 2
    await task.shutdown()


async def test_a_shutdown_without_a_start_does_nothing() -> None:
    async def run() -> None:
        raise AssertionError("it was not started")

    await BackgroundTask(run).shutdown()


async def test_a_shutdown_hides_the_failure_of_a_task() -> None:
    async def run() -> None:
        raise ZeroDivisionError

    task = BackgroundTask(run)
    task.start()
    await task.shutdown()
    assert not task.is_running

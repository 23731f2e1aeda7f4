"""The bridge from RabbitMQ: acknowledged messages are at their streams, nothing is there twice."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import aio_pika
import pytest

from bench.harness import DURABLE, BridgeProcess, RabbitProcess, RedisProcess
from tests.support.bridged import WAIT_S, messages, numbers_of, wait_for_count
from tests.support.nodes import wait_until
from tests.support.stream_client import StreamClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from bench.harness import NodeProcess

pytestmark = pytest.mark.integration

_numbers = itertools.count(1)


class NoId(str):
    """An empty id, which the library, unlike others, does not replace by a random one."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return True


class Queue:
    """One queue, and a connection to its broker for each use: the broker may be restarted.

    Args:
        url: of the broker.
        name: of the queue.
        kind: classic, quorum or stream.
    """

    def __init__(self, url: str, name: str, kind: str) -> None:
        self.url = url
        self.name = name
        self.kind = kind

    @contextlib.asynccontextmanager
    async def _opened(self) -> AsyncIterator[aio_pika.abc.AbstractChannel]:
        connection = await aio_pika.connect(self.url)
        async with connection:
            yield await connection.channel()

    async def declare(self, **arguments: str) -> None:
        """Create the queue."""
        async with self._opened() as channel:
            await channel.declare_queue(
                self.name, durable=True, arguments={"x-queue-type": self.kind, **arguments}
            )

    async def waiting(self) -> int:
        """Return how many messages wait."""
        async with self._opened() as channel:
            queue = await channel.declare_queue(self.name, passive=True)
            return queue.declaration_result.message_count or 0

    async def delete(self) -> None:
        """Delete the queue."""
        async with self._opened() as channel:
            await channel.queue_delete(self.name)

    async def send(
        self,
        *contents: Any,  # noqa: ANN401  (any JSON)
        ids: bool = True,
        **properties: Any,  # noqa: ANN401
    ) -> None:
        """Publish messages; the broker has confirmed them when this returns."""
        async with self._opened() as channel, asyncio.TaskGroup() as group:
            for content in contents:
                body = content if isinstance(content, bytes) else json.dumps(content).encode()
                message = aio_pika.Message(
                    body,
                    message_id=str(next(_numbers)),
                    delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                    **properties,
                )
                if not ids:
                    message.message_id = NoId()
                group.create_task(channel.default_exchange.publish(message, self.name))


@pytest.fixture(scope="module")
def rabbitmq() -> Iterator[RabbitProcess]:
    """A broker for all tests of this module; one restarts it."""
    with RabbitProcess() as process:
        yield process


@pytest.fixture(params=["classic", "quorum"])
async def queue(rabbitmq: RabbitProcess, request: pytest.FixtureRequest) -> Queue:
    """A queue of the test's own, of each kind."""
    queue = Queue(rabbitmq.url, f"orders-{next(_numbers)}", request.param)
    await queue.declare()
    return queue


@pytest.fixture
async def classic(rabbitmq: RabbitProcess) -> Queue:
    """A classic queue of the test's own."""
    queue = Queue(rabbitmq.url, f"orders-{next(_numbers)}", "classic")
    await queue.declare()
    return queue


@pytest.fixture
def start_bridge(redis: RedisProcess) -> Iterator[Callable[..., BridgeProcess]]:
    """Start bridges."""
    with contextlib.ExitStack() as bridges:

        def start(queue: Queue, *flags: str, redis_url: str = redis.url) -> BridgeProcess:
            own = ("--url", queue.url, "--queue", queue.name, "--redis-url", redis_url)
            return bridges.enter_context(BridgeProcess("amqp", *own, *flags))

        yield start


async def wait_until_empty(queue: Queue, bridge: BridgeProcess) -> None:
    """Wait until nothing waits in the queue and nothing is unacknowledged at its bridge."""
    await asyncio.to_thread(bridge.terminate, WAIT_S)
    assert await queue.waiting() == 0


async def acknowledge_the_rest(queue: Queue, bridge: BridgeProcess) -> None:
    """Run a bridge until it has acknowledged what others had published and were killed before.

    Unacknowledged messages count as waiting only while no bridge is connected.
    """
    async with asyncio.timeout(WAIT_S):
        while True:
            while await queue.waiting():  # noqa: ASYNC110  (the broker can only be asked)
                await asyncio.sleep(0.01)
            assert await asyncio.to_thread(bridge.terminate, WAIT_S) == 0
            if await queue.waiting() == 0:
                return
            bridge.start()


async def test_each_form_reaches_its_stream(
    node: NodeProcess, queue: Queue, user: str, start_bridge: Callable[..., BridgeProcess]
) -> None:
    event = {"specversion": "1.0", "id": "1", "source": "/orders", "type": "order.paid"}
    binary = {f"cloudEvents:{name}": value for name, value in {**event, "subject": user}.items()}
    await queue.send(*messages(user, range(1)))
    await queue.send({**event, "subject": user, "data": {"number": 1}})
    await queue.send({"number": 2}, headers=binary)
    with StreamClient(node.url, f"/events/sse/{user}?since=0-1") as stream:
        bridge = start_bridge(queue)
        stream.wait_for(lambda event: event.json.get("number") == 2)
        assert [event.json["number"] for event in stream.published()] == [0, 1, 2]
        bridge.wait_ready(WAIT_S)
        await wait_until_empty(queue, bridge)


async def test_nothing_twice_when_a_bridge_is_killed_before_it_acknowledges(
    queue: Queue, user: str, tmp_path: Path, start_bridge: Callable[..., BridgeProcess]
) -> None:
    with RedisProcess(args=DURABLE, directory=tmp_path) as own:
        await queue.send(*messages(user, range(2000)))
        bridge = start_bridge(queue, "--batch", "50", redis_url=own.url)
        for count in (1, 500, 1000):
            await asyncio.to_thread(wait_for_count, own.url, user, count)
            bridge.kill()
            bridge.start()
        await asyncio.to_thread(wait_for_count, own.url, user, 2000)
        await acknowledge_the_rest(queue, bridge)
        assert sorted(numbers_of(own.url, user)) == list(range(2000))


async def test_redelivered_messages_are_recognized_by_their_id(
    redis: RedisProcess, queue: Queue, user: str, start_bridge: Callable[..., BridgeProcess]
) -> None:
    bridge = start_bridge(queue)
    (message,) = messages(user, range(1))
    async with await aio_pika.connect(queue.url) as connection:
        channel = await connection.channel()
        for _ in range(2):
            body = json.dumps(message).encode()
            again = aio_pika.Message(body, message_id=f"same-{user}")
            await channel.default_exchange.publish(again, queue.name)
    await queue.send(*messages(user, range(1, 2)))
    await asyncio.to_thread(wait_for_count, redis.url, user, 2)
    assert numbers_of(redis.url, user) == [0, 1]
    assert bridge.metric("sse_node_bridge_repeated_total") == 1


async def test_without_an_id_there_is_a_warning(
    redis: RedisProcess, classic: Queue, user: str, start_bridge: Callable[..., BridgeProcess]
) -> None:
    bridge = start_bridge(classic)
    await classic.send(*messages(user, range(2)), ids=False)
    await asyncio.to_thread(wait_for_count, redis.url, user, 2)
    await asyncio.to_thread(bridge.wait_for_log, "after a crash some may appear twice", WAIT_S)
    await wait_until_empty(classic, bridge)
    assert "".join(bridge.log).count("no message_id") == 1


async def test_bad_messages_are_rejected_for_good(
    redis: RedisProcess, queue: Queue, user: str, start_bridge: Callable[..., BridgeProcess]
) -> None:
    dead = Queue(queue.url, f"{queue.name}-dead", "classic")
    await dead.declare()
    letters = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead.name}
    await queue.delete()
    await queue.declare(**letters)
    good, better = messages(user, range(2))
    await queue.send(good, b"nope", better, b"")
    bridge = start_bridge(queue)
    await asyncio.to_thread(wait_for_count, redis.url, user, 2)
    metric = "sse_node_bridge_dead_letters_total"
    await asyncio.to_thread(wait_until, lambda: bridge.metric(metric) == 2, "dead letters", WAIT_S)
    await wait_until_empty(queue, bridge)
    assert numbers_of(redis.url, user) == [0, 1]
    assert await dead.waiting() == 2


async def test_a_bad_message_may_stop_the_bridge(
    redis: RedisProcess, classic: Queue, user: str, start_bridge: Callable[..., BridgeProcess]
) -> None:
    await classic.send(*messages(user, range(2)), b"nope", *messages(user, range(2, 3)))
    bridge = start_bridge(classic, "--on-bad", "stop")
    assert await asyncio.to_thread(bridge.wait, WAIT_S) == 1
    assert "stopping at a bad message" in "".join(bridge.log)
    assert numbers_of(redis.url, user) == [0, 1]
    assert await classic.waiting() == 2


async def test_it_survives_a_deleted_queue_and_restarts_of_the_broker(
    redis: RedisProcess,
    rabbitmq: RabbitProcess,
    queue: Queue,
    user: str,
    start_bridge: Callable[..., BridgeProcess],
) -> None:
    bridge = start_bridge(queue)
    await queue.send(*messages(user, range(2)))
    await asyncio.to_thread(wait_for_count, redis.url, user, 2)
    await queue.delete()
    await asyncio.to_thread(bridge.wait_for_log, "waiting: RabbitMQ", WAIT_S)
    assert bridge.get("/health/ready").status_code == 503
    await queue.declare()
    await queue.send(*messages(user, range(2, 4)))
    await asyncio.to_thread(wait_for_count, redis.url, user, 4)
    rabbitmq.stop()
    wait_until(lambda: bridge.metric("sse_node_bridge_broker_up") == 0, "it notices", WAIT_S)
    rabbitmq.start()  # in this thread: the kernel ends a process with the thread that started it
    await queue.send(*messages(user, range(4, 6)))
    await asyncio.to_thread(wait_for_count, redis.url, user, 6)
    assert numbers_of(redis.url, user) == list(range(6))
    await wait_until_empty(queue, bridge)


async def test_it_waits_while_redis_is_away(
    queue: Queue, user: str, tmp_path: Path, start_bridge: Callable[..., BridgeProcess]
) -> None:
    with RedisProcess(args=DURABLE, directory=tmp_path) as own:
        bridge = start_bridge(queue, "--batch", "10", redis_url=own.url)
        await queue.send(*messages(user, range(20)))
        await asyncio.to_thread(wait_for_count, own.url, user, 20)
        own.stop()
        await queue.send(*messages(user, range(20, 100)))
        await asyncio.to_thread(bridge.wait_for_log, "waiting: Redis is away", WAIT_S)
        assert await queue.waiting() >= 60, "twice --batch are delivered ahead, the others wait"
        assert bridge.get("/health/ready").status_code == 503
        own.start()
        await asyncio.to_thread(wait_for_count, own.url, user, 100)
        assert numbers_of(own.url, user) == list(range(100))
        await wait_until_empty(queue, bridge)


async def test_a_stream_goes_on_where_redis_has_it(
    rabbitmq: RabbitProcess,
    redis: RedisProcess,
    user: str,
    start_bridge: Callable[..., BridgeProcess],
) -> None:
    stream = Queue(rabbitmq.url, f"stream-{user}", "stream")
    await stream.declare()
    await stream.send(*messages(user, range(300)), ids=False)
    bridge = start_bridge(stream)
    await asyncio.to_thread(wait_for_count, redis.url, user, 300)
    bridge.kill()
    await stream.send(*messages(user, range(300, 400)), ids=False)
    bridge.start()
    await asyncio.to_thread(wait_for_count, redis.url, user, 400)
    assert numbers_of(redis.url, user) == list(range(400))
    assert "no message_id" not in "".join(bridge.log)
    assert bridge.terminate(WAIT_S) == 0


async def test_check_prints_the_next_event_and_puts_it_back(
    redis: RedisProcess, queue: Queue, user: str
) -> None:
    words = [*BridgeProcess.command, "amqp", "--url", queue.url, "--queue", queue.name]
    words += ["--redis-url", redis.url, "--check"]
    await queue.send(*messages(user, range(1)))
    done = await asyncio.to_thread(
        subprocess.run, words, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"{queue.name} #1: user-events ")
    assert f'"userId":"{user}"' in done.stdout
    assert numbers_of(redis.url, user) == []
    assert await queue.waiting() == 1


async def test_a_user_that_the_broker_refuses_ends_it(
    rabbitmq: RabbitProcess, start_bridge: Callable[..., BridgeProcess]
) -> None:
    url = rabbitmq.url.replace("guest:guest", "guest:secret")
    bridge = start_bridge(Queue(url, "orders", "classic"))
    assert await asyncio.to_thread(bridge.wait, WAIT_S) == 1
    assert "RabbitMQ refuses the user of --url" in "".join(bridge.log)
    assert "secret" not in "".join(bridge.log)


async def test_sigterm_ends_it_with_what_it_has_published_acknowledged(
    redis: RedisProcess, classic: Queue, user: str, start_bridge: Callable[..., BridgeProcess]
) -> None:
    await classic.send(*messages(user, range(2000)))
    bridge = start_bridge(classic, "--batch", "20")
    await asyncio.to_thread(wait_for_count, redis.url, user, 1)
    bridge.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(bridge.wait, WAIT_S) == 0
    published = len(numbers_of(redis.url, user))
    assert await classic.waiting() == 2000 - published

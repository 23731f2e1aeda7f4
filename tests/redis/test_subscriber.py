"""One connection that subscribes: batches per read, refusals, silence, whatever Redis sends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from sse_node.errors import RedisError
from sse_node.redis.address import RedisAddress
from sse_node.redis.subscriber import RedisSubscriberConnection
from sse_node.wire.resp import encode_command
from tests.support.fakes import (
    BOTH_LOOPS,
    FAKE_CLOCK,
    FakeClockLoop,
    FakeTransport,
    confirmation,
    pieces_of,
    push,
    settle,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.harness import RedisProcess
    from sse_node.redis.address import RedisAddress
from sse_node.redis.subscriber import Message

PING_INTERVAL_S = 5.0
CHANNELS = [b"user-events", b"system-events"]
CONFIRMED = confirmation(b"user-events", 1) + confirmation(b"system-events", 2)
PING = encode_command(b"PING")


def message(payload: bytes, channel: bytes = b"user-events") -> bytes:
    return push(b"message", channel, payload)


class Subscriber:
    """A connection to a Redis that the test plays, and the batches it handed on."""

    def __init__(self, transport: FakeTransport, address: RedisAddress | None = None) -> None:
        self.batches: list[list[Message]] = []
        self.transport = transport
        self.connection = RedisSubscriberConnection(
            address or RedisAddress(),
            name="node-1",
            channels=CHANNELS,
            on_batch=self.batches.append,
            ping_interval_s=PING_INTERVAL_S,
        )
        self.connection.subscribed.add_done_callback(lambda f: f.cancelled() or f.exception())
        transport.connect(self.connection)

    @property
    def payloads(self) -> list[bytes]:
        return [message[2] for batch in self.batches for message in batch]


@pytest.fixture
async def subscriber(make_transport: Callable[[], FakeTransport]) -> Subscriber:
    return Subscriber(make_transport())


@pytest.fixture(
    params=[lambda data: [data], pieces_of, lambda data: pieces_of(data, [len(data) // 2])],
    ids=["whole", "byte by byte", "two pieces"],
)
def cut(request: pytest.FixtureRequest) -> Callable[[bytes], Sequence[bytes]]:
    """How the bytes of Redis are spread over reads."""
    cut: Callable[[bytes], Sequence[bytes]] = request.param
    return cut


@FAKE_CLOCK
@pytest.mark.parametrize(
    ("address", "commands"),
    [
        pytest.param(RedisAddress(), [], id="open to all"),
        pytest.param(
            RedisAddress(password="pass word"), [(b"AUTH", b"pass word")], id="a password"
        ),
        pytest.param(
            RedisAddress(username="üser", password="p"),
            [(b"AUTH", "üser".encode(), b"p")],
            id="a user",
        ),
        pytest.param(
            RedisAddress(username="u"), [(b"AUTH", b"u", b"")], id="a user without a password"
        ),
        pytest.param(RedisAddress(database=3), [(b"SELECT", b"3")], id="a database"),
        pytest.param(
            RedisAddress(password="p", database=15),
            [(b"AUTH", b"p"), (b"SELECT", b"15")],
            id="both",
        ),
    ],
)
async def test_the_handshake_is_sent_at_once(
    make_transport: Callable[[], FakeTransport],
    address: RedisAddress,
    commands: list[tuple[bytes, ...]],
) -> None:
    subscriber = Subscriber(make_transport(), address)
    commands = [*commands, (b"CLIENT", b"SETNAME", b"node-1"), (b"SUBSCRIBE", *CHANNELS)]
    expected = b"".join(encode_command(*command) for command in commands)
    assert subscriber.transport.received() == expected


@FAKE_CLOCK
async def test_it_is_subscribed_when_every_channel_is_confirmed(
    subscriber: Subscriber, cut: Callable[[bytes], Sequence[bytes]]
) -> None:
    subscriber.transport.feed(*cut(b"+OK\r\n+OK\r\n" + confirmation(b"user-events", 1)))
    assert not subscriber.connection.subscribed.done()
    subscriber.transport.feed(*cut(confirmation(b"system-events", 2)))
    assert subscriber.connection.subscribed.done()
    assert subscriber.connection.subscribed.exception() is None


@FAKE_CLOCK
async def test_messages_of_one_read_are_one_batch(subscriber: Subscriber) -> None:
    subscriber.transport.feed(CONFIRMED + message(b"1"), message(b"2") + message(b"3"))
    assert subscriber.batches == [
        [[b"message", b"user-events", b"1"]],
        [[b"message", b"user-events", b"2"], [b"message", b"user-events", b"3"]],
    ]


@FAKE_CLOCK
async def test_a_message_is_handed_on_when_its_last_byte_is_there(subscriber: Subscriber) -> None:
    data = message(b"1") + message(b"2")
    subscriber.transport.feed(CONFIRMED, data[:-1])
    assert subscriber.payloads == [b"1"]
    subscriber.transport.feed(data[-1:])
    assert subscriber.payloads == [b"1", b"2"]


@FAKE_CLOCK
@pytest.mark.parametrize(
    "payload",
    [b"", b"\r\n", b"$5\r\nhello\r\n", b"\xff\0\xfe", b"{}" * 300_000],
    ids=["empty", "line break", "RESP", "binary", "long"],
)
async def test_a_payload_is_any_bytes(subscriber: Subscriber, payload: bytes) -> None:
    data = CONFIRMED + message(payload, b"system-events") + message(b"next")
    subscriber.transport.feed(*pieces_of(data, [100] * (len(data) // 100)))
    assert subscriber.batches[0][0] == [b"message", b"system-events", payload]
    assert subscriber.payloads == [payload, b"next"]


@FAKE_CLOCK
async def test_what_is_no_message_is_passed_over(
    subscriber: Subscriber, cut: Callable[[bytes], Sequence[bytes]]
) -> None:
    others = (
        push(b"pong", b""),
        push(b"unsubscribe", b"x"),
        push(b"pmessage", b"*", b"user-events", b"pattern"),
        b"+PONG\r\n",
        b":1\r\n",
        b"$-1\r\n",
        b"*-1\r\n",
        b"*0\r\n",
        b"*1\r\n*1\r\n:1\r\n",
        b"$7\r\nmessage\r\n",
    )
    subscriber.transport.feed(CONFIRMED)
    for other in others:
        subscriber.transport.feed(*cut(other + message(b"x")))
    assert subscriber.payloads == [b"x"] * len(others)
    assert not subscriber.transport.is_closing()


@FAKE_CLOCK
@pytest.mark.parametrize(
    ("answers", "detail"),
    [
        (b"-NOAUTH Authentication required.\r\n", "Redis refused: NOAUTH Authentication required."),
        (b"+OK\r\n-ERR DB index is out of range\r\n" + CONFIRMED, "Redis refused: ERR DB index"),
        (b"-LOADING Redis is loading the dataset\r\n" * 2, "Redis refused: LOADING"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "Redis sent what is not RESP"),
        (b"\x15\x03\x01\x00\x02\x02\x28", "Redis sent what is not RESP"),
        (b"*99999999999\r\n", "Redis sent what is not RESP"),
    ],
    ids=["password", "database", "loading", "HTTP", "TLS", "a huge array"],
)
async def test_a_refusal_ends_it(
    subscriber: Subscriber,
    cut: Callable[[bytes], Sequence[bytes]],
    answers: bytes,
    detail: str,
) -> None:
    subscriber.transport.feed(*cut(answers))
    with pytest.raises(RedisError, match=detail):
        await subscriber.connection.subscribed
    await settle()
    assert subscriber.transport.closed
    assert detail in await subscriber.connection.closed


NOPERM = b"-NOPERM User ann has no permissions to run the 'client|setname' command\r\n"


@FAKE_CLOCK
async def test_it_does_without_a_name(
    subscriber: Subscriber, cut: Callable[[bytes], Sequence[bytes]]
) -> None:
    subscriber.transport.feed(*cut(NOPERM + CONFIRMED + message(b"1")))
    await subscriber.connection.subscribed
    assert subscriber.payloads == [b"1"]


@FAKE_CLOCK
@pytest.mark.parametrize("answers", [b"+OK\r\n" + NOPERM, NOPERM + NOPERM])
async def test_it_does_not_do_without_its_channels(subscriber: Subscriber, answers: bytes) -> None:
    subscriber.transport.feed(answers)
    with pytest.raises(RedisError, match="Redis refused: NOPERM"):
        await subscriber.connection.subscribed


@FAKE_CLOCK
async def test_it_does_not_do_without_its_database(
    make_transport: Callable[[], FakeTransport],
) -> None:
    subscriber = Subscriber(make_transport(), RedisAddress(database=1))
    subscriber.transport.feed(NOPERM)
    with pytest.raises(RedisError, match="Redis refused: NOPERM"):
        await subscriber.connection.subscribed


@FAKE_CLOCK
async def test_an_error_later_on_ends_it_too(subscriber: Subscriber) -> None:
    subscriber.transport.feed(CONFIRMED)
    subscriber.transport.feed(message(b"1") + b"-ERR client buffer\r\n" + message(b"2"))
    assert "Redis refused: ERR client buffer" in await subscriber.connection.closed
    assert subscriber.payloads[0] == b"1"


@FAKE_CLOCK
async def test_the_end_of_the_connection_is_told(subscriber: Subscriber) -> None:
    subscriber.transport.feed(confirmation(b"user-events", 1))
    subscriber.transport.feed_eof()
    with pytest.raises(RedisError, match=r"^Redis closed the connection$"):
        await subscriber.connection.subscribed
    assert await subscriber.connection.closed == "Redis closed the connection"


@FAKE_CLOCK
async def test_a_broken_connection_is_told_with_its_reason(subscriber: Subscriber) -> None:
    subscriber.transport.feed(CONFIRMED)
    subscriber.transport.lose(ConnectionResetError(104, "Connection reset by peer"))
    assert "Connection reset by peer" in await subscriber.connection.closed


@FAKE_CLOCK
async def test_redis_is_asked_whether_it_is_there(subscriber: Subscriber) -> None:
    subscriber.transport.received()
    subscriber.transport.feed(CONFIRMED)
    for _ in range(20):
        await asyncio.sleep(PING_INTERVAL_S)
        assert subscriber.transport.received() == PING
        subscriber.transport.feed(push(b"pong", b""))
    assert not subscriber.transport.is_closing()


@FAKE_CLOCK
async def test_a_redis_that_is_silent_is_given_up(
    subscriber: Subscriber, clock: FakeClockLoop
) -> None:
    subscriber.transport.feed(CONFIRMED)
    start = clock.time()
    assert await subscriber.connection.closed == "Redis was silent for 10 s"
    assert 2 * PING_INTERVAL_S <= clock.time() - start <= 3 * PING_INTERVAL_S
    assert subscriber.transport.closed


@FAKE_CLOCK
async def test_one_byte_is_a_sign_of_life(subscriber: Subscriber) -> None:
    for byte in pieces_of(CONFIRMED):
        subscriber.transport.feed(byte)
        await asyncio.sleep(1.9 * PING_INTERVAL_S)
    assert subscriber.connection.subscribed.done()
    assert not subscriber.transport.is_closing()


@FAKE_CLOCK
async def test_it_can_be_ended_before_it_has_begun() -> None:
    connection = RedisSubscriberConnection(
        RedisAddress(), name="n", channels=CHANNELS, on_batch=list.clear, ping_interval_s=1
    )
    connection.abort()
    assert not connection.closed.done()


@FAKE_CLOCK
async def test_no_ping_after_the_end(subscriber: Subscriber) -> None:
    subscriber.connection.abort()
    await asyncio.sleep(10 * PING_INTERVAL_S)
    subscriber.connection.connection_lost(None)
    assert PING not in subscriber.transport.received()


RESP = st.recursive(
    st.one_of(
        st.binary(max_size=8).map(lambda data: b"$%d\r\n%b\r\n" % (len(data), data)),
        st.integers().map(lambda number: b":%d\r\n" % number),
        st.sampled_from(
            [
                b"$-1\r\n",
                b"*-1\r\n",
                b"*0\r\n",
                b"+OK\r\n",
                b"$7\r\nmessage\r\n",
                b"#t\r\n",
                b"_\r\n",
            ]
        ),
    ),
    lambda children: st.lists(children, max_size=4).map(
        lambda items: b"*%d\r\n%b" % (len(items), b"".join(items))
    ),
)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.one_of(RESP, st.binary(max_size=12)), max_size=6))
@example([b"*0\r\n"])
@example([b"*1\r\n" * 100])
@example([b"*3\r\n$7\r\nmessage\r\n:1\r\n*0\r\n"])
def test_whatever_redis_sends_raises_nothing(reads: list[bytes]) -> None:
    async def feed() -> None:
        transport = FakeTransport()
        try:
            Subscriber(transport)
            transport.feed(*reads)
            await settle()
            transport.lose()
        finally:
            transport.dispose()

    with asyncio.Runner(loop_factory=FakeClockLoop) as runner:
        runner.run(feed())


@BOTH_LOOPS
@pytest.mark.integration
async def test_a_real_redis_confirms_publishes_and_answers(redis: RedisProcess) -> None:
    loop = asyncio.get_running_loop()
    received: asyncio.Queue[Message] = asyncio.Queue()

    def on_batch(batch: list[Message]) -> None:
        for message in batch:
            received.put_nowait(message)

    _, connection = await loop.create_unix_connection(
        lambda: RedisSubscriberConnection(
            RedisAddress(database=1),
            name="test-subscriber",
            channels=[b"net-test"],
            on_batch=on_batch,
            ping_interval_s=0.05,
        ),
        str(redis.socket_path),
    )
    async with asyncio.timeout(10), Redis.from_url(redis.url) as publisher:
        await connection.subscribed
        for number in range(100):
            await publisher.publish("net-test", b"%d\r\n\xff" % number)
        for number in range(100):
            assert await received.get() == [b"message", b"net-test", b"%d\r\n\xff" % number]
        client = {"cmd": ""}
        while client["cmd"] != "ping":
            clients = await publisher.client_list()
            [client] = [c for c in clients if c["name"] == "test-subscriber"]
        assert client["db"] == "1"
        await publisher.client_kill_filter(_id=client["id"])
        assert await connection.closed == "Redis closed the connection"

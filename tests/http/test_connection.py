"""One connection: whole requests in any pieces, answers in order, deadlines, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from typing import TYPE_CHECKING

import pytest

from sse_node.http.connection import HttpConnection
from sse_node.streams.event_stream import EventStream
from tests.support.cpu_time import steps_of
from tests.support.door import (
    CONTENT_TIMEOUT_S,
    HEAD_TIMEOUT_S,
    HTTP_LIMIT_TOTAL,
    KEEP_ALIVE_TIMEOUT_S,
    MAX_CONTENT_BYTES,
    STREAM_HEAD,
    Client,
    Door,
)
from tests.support.fakes import BOTH_LOOPS, FAKE_CLOCK, FakeClockLoop, pieces_of, settle
from tests.support.responses import Reply, read_replies

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    Connect = Callable[..., Client]

GET = b"GET /echo HTTP/1.1\r\nHost: a\r\n\r\n"
GET_LATER = b"GET /later HTTP/1.1\r\nHost: a\r\n\r\n"
GET_LONG = GET.replace(b"\r\n\r\n", b"\r\nX-Filler: %b\r\n\r\n" % (b"f" * 990))
GET_STREAM = b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n"
GET_BIG = b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def post(content: bytes, path: bytes = b"/echo", headers: bytes = b"") -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n%b\r\n%b" % (
        path,
        len(content),
        headers,
        content,
    )


REQUESTS = [
    pytest.param(GET, b"GET /echo? ", id="get"),
    pytest.param(
        b"GET /a/b%20c?x=1&y HTTP/1.1\r\nHost: a:80\r\n\r\n", b"GET /a/b%20c?x=1&y ", id="query"
    ),
    pytest.param(b"DELETE /x HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", b"DELETE /x? ", id="delete"),
    pytest.param(b"GET /x HTTP/1.1\r\nHost:\r\n\r\n", b"GET /x? ", id="empty host"),
    pytest.param(post(b"hello"), b"POST /echo? hello", id="content length"),
    pytest.param(post(b""), b"POST /echo? ", id="content length of zero"),
    pytest.param(post(b"\r\n\r\n\0\n"), b"POST /echo? \r\n\r\n\0\n", id="content that looks odd"),
    pytest.param(
        CHUNKED + b"5\r\nhello\r\n1;a=b\r\n!\r\n0\r\n\r\n", b"POST /echo? hello!", id="chunked"
    ),
    pytest.param(
        CHUNKED.replace(b"chunked", b"Chunked") + b"A\r\n0123456789\r\n00\r\nX-Sum: 1\r\n\r\n",
        b"POST /echo? 0123456789",
        id="chunked with a trailer",
    ),
    pytest.param(
        post(b"later", headers=b"Expect: 100-continue\r\n"), b"POST /echo? later", id="expect"
    ),
    pytest.param(
        b"GET http://example.test/x?y HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /x?y ", id="absolute form"
    ),
    pytest.param(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", b"OPTIONS *? ", id="asterisk form"),
    pytest.param(b"\r\n\r\n" + GET, b"GET /echo? ", id="empty lines before it"),
    pytest.param(
        b"GET /x HTTP/1.1\r\nhOsT:\ta \r\nX-Name: caf\xe9 \x80\r\nX-Empty:\r\n\r\n",
        b"GET /x? ",
        id="odd but valid fields",
    ),
    pytest.param(
        b"GET /x HTTP/1.1\r\nHost: a\r\n"
        + b"".join(b"X-%d: %b\r\n" % (number, b"v" * 100) for number in range(99))
        + b"\r\n",
        b"GET /x? ",
        id="100 field lines",
    ),
]

CUTS = {
    "whole": lambda data: [data],
    "byte by byte": pieces_of,
    "three pieces": lambda data: pieces_of(data, [len(data) // 3, len(data) // 3]),
}


@pytest.fixture(params=CUTS.values(), ids=list(CUTS))
def cut(request: pytest.FixtureRequest) -> Callable[[bytes], Sequence[bytes]]:
    """How the client's bytes are spread over reads."""
    cut: Callable[[bytes], Sequence[bytes]] = request.param
    return cut


@pytest.fixture(params=[1 << 20, 997], ids=["whole", "997 bytes each"])
def cut_long(request: pytest.FixtureRequest) -> Callable[[bytes], Sequence[bytes]]:
    """How a client's many bytes are spread over reads."""
    return lambda data: pieces_of(data, [request.param] * (len(data) // request.param))


@FAKE_CLOCK
class TestRequests:
    @pytest.mark.parametrize(("request_bytes", "content"), REQUESTS)
    async def test_a_request_is_answered_in_whatever_pieces_it_comes(
        self,
        connect: Connect,
        cut: Callable[[bytes], Sequence[bytes]],
        request_bytes: bytes,
        content: bytes,
    ) -> None:
        client = connect()
        client.send(*cut(request_bytes))
        reply = client.reply()
        assert (reply.status, reply.content) == (200, content)
        assert reply.headers["content-type"] == "text/plain"
        assert reply.headers["x-server-id"] == "node-1"
        assert reply.headers["date"].endswith("GMT")
        assert not client.is_closed()

    @pytest.mark.parametrize(("request_bytes", "content"), REQUESTS)
    async def test_what_follows_a_request_is_the_next_request(
        self,
        connect: Connect,
        cut: Callable[[bytes], Sequence[bytes]],
        request_bytes: bytes,
        content: bytes,
    ) -> None:
        client = connect()
        client.send(*cut(request_bytes + post(b"next") + b"GET /unfinished"))
        await settle()
        assert [reply.content for reply in client.replies()] == [content, b"POST /echo? next"]
        assert not client.is_closed()

    async def test_the_head_of_a_get_is_answered_without_its_content(
        self, connect: Connect, cut: Callable[[bytes], Sequence[bytes]]
    ) -> None:
        client = connect()
        client.send(*cut(GET.replace(b"GET", b"HEAD") + GET))
        await settle()
        head, get = client.replies("HEAD", "GET")
        assert (head.status, head.content) == (200, b"")
        assert head.headers["content-length"] == str(len(b"HEAD /echo? "))
        assert get.content == b"GET /echo? "

    async def test_an_answer_without_content_has_no_length(self, connect: Connect) -> None:
        client = connect()
        client.send(b"DELETE /empty HTTP/1.1\r\nHost: a\r\n\r\n" + GET)
        await settle()
        empty, after = client.replies()
        assert (empty.status, empty.content) == (204, b"")
        assert "content-length" not in empty.headers
        assert after.status == 200

    async def test_headers_of_the_same_name_are_joined(self, connect: Connect, door: Door) -> None:
        client = connect()
        client.send(b"GET /x HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nx-a: 2\r\n\r\n")
        assert client.reply().status == 200
        assert door.requests[0].header(b"x-a") == "1, 2"

    async def test_content_of_one_request_is_not_that_of_the_next(
        self, connect: Connect, cut: Callable[[bytes], Sequence[bytes]]
    ) -> None:
        client = connect()
        client.send(*cut(post(b"first") + CHUNKED + b"6\r\nsecond\r\n0\r\n\r\n" + post(b"") + GET))
        await settle()
        assert [reply.content for reply in client.replies()] == [
            b"POST /echo? first",
            b"POST /echo? second",
            b"POST /echo? ",
            b"GET /echo? ",
        ]

    @pytest.mark.parametrize("later", [b"", b"-later"], ids=["at once", "later"])
    async def test_a_refusal_is_a_problem_and_the_connection_goes_on(
        self, connect: Connect, door: Door, later: bytes
    ) -> None:
        door.gate.set()
        client = connect()
        client.send(post(b"x", path=b"/refused" + later) + GET)
        await settle()
        refused, after = client.replies()
        assert (refused.status, refused.problem) == (409, "balance: expected a number")
        assert refused.headers["x-why"] == "because"
        assert after.status == 200

    @pytest.mark.parametrize("later", [b"", b"-later"], ids=["at once", "later"])
    async def test_a_bug_is_logged_and_says_nothing_of_itself(
        self, connect: Connect, door: Door, caplog: pytest.LogCaptureFixture, later: bytes
    ) -> None:
        door.gate.set()
        client = connect()
        client.send(b"GET /bug%b?token=x HTTP/1.1\r\nHost: a\r\n\r\n" % later + GET)
        await settle()
        failed, after = client.replies()
        assert failed.status == 500
        assert "secret" not in failed.problem
        assert after.status == 200
        [record] = caplog.records
        assert record.levelno == logging.ERROR
        assert record.exc_info is not None
        assert "token" not in record.getMessage()

    async def test_answers_are_counted_by_status(self, connect: Connect, door: Door) -> None:
        client = connect()
        client.send(GET + GET + post(b"", path=b"/refused") + b"bad\r\n\r\n")
        await settle()
        client.read()
        assert door.site.answered == {200: 2, 409: 1, 400: 1}


@FAKE_CLOCK
class TestContents:
    async def test_content_of_the_most_bytes_is_taken(
        self, connect: Connect, cut_long: Callable[[bytes], Sequence[bytes]]
    ) -> None:
        content = b"c" * MAX_CONTENT_BYTES
        client = connect()
        client.send(*cut_long(post(content)))
        client.send(*cut_long(CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content)))
        await settle()
        assert [len(reply.content) for reply in client.replies()] == [
            len(b"POST /echo? ") + 65536
        ] * 2

    async def test_too_long_content_is_refused_before_it_comes(
        self, connect: Connect, cut: Callable[[bytes], Sequence[bytes]]
    ) -> None:
        client = connect()
        head = post(b"x" * (MAX_CONTENT_BYTES + 1), headers=b"Expect: 100-continue\r\n")
        client.send(*cut(head.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"))
        reply = client.reply()
        assert (reply.status, reply.informational) == (413, [])
        assert reply.problem == "content: expected at most 65536 bytes"
        assert client.is_closed()

    async def test_too_long_chunked_content_is_refused_as_soon_as_it_is(
        self, connect: Connect, door: Door, cut_long: Callable[[bytes], Sequence[bytes]]
    ) -> None:
        client = connect()
        client.send(*cut_long(CHUNKED + b"10000\r\n%b\r\n" % (b"x" * MAX_CONTENT_BYTES)))
        assert client.replies() == []
        client.send(*cut_long(b"1\r\nx"))
        assert client.reply().problem == "content: expected at most 65536 bytes"
        assert client.is_closed()
        assert door.requests == []

    async def test_a_client_that_waits_is_told_to_go_on_once(self, connect: Connect) -> None:
        client = connect()
        request = post(b"hello", headers=b"Expect: 100-continue\r\n")
        client.send(request[:-5])
        assert client.read() == b"HTTP/1.1 100 \r\n\r\n"
        client.send(b"he", b"llo")
        reply = client.reply()
        assert (reply.informational, reply.content) == ([100], b"POST /echo? hello")

    async def test_a_client_of_http_1_0_is_never_told_to_go_on(self, connect: Connect) -> None:
        client = connect()
        request = post(b"hello", headers=b"Expect: 100-continue\r\n").replace(
            b"1.1\r\n", b"1.0\r\n"
        )
        client.send(request)
        reply = client.reply()
        assert (reply.informational, reply.content) == ([], b"POST /echo? hello")

    async def test_content_is_not_kept_while_the_connection_idles(
        self, connect: Connect, door: Door
    ) -> None:
        client = connect()
        client.send(post(b"x" * MAX_CONTENT_BYTES))
        client.read()
        [connection] = door.site.connections
        assert isinstance(connection, HttpConnection)
        assert connection._content is None

    async def test_chunks_may_add_an_eighth_to_long_content(
        self, connect: Connect, cut_long: Callable[[bytes], Sequence[bytes]]
    ) -> None:
        chunk = b"40\r\n%b\r\n" % (b"x" * 64)
        client = connect()
        client.send(*cut_long(CHUNKED + chunk * (MAX_CONTENT_BYTES // 64) + b"0\r\n\r\n"))
        assert len(client.reply().content) == len(b"POST /echo? ") + MAX_CONTENT_BYTES

    @pytest.mark.parametrize("overhead", [-1, 0, 1])
    async def test_chunks_may_add_so_much_whatever_their_pieces(
        self, connect: Connect, cut: Callable[[bytes], Sequence[bytes]], overhead: int
    ) -> None:
        rest = 16 * 1024 + overhead - len(b"1;\r\n\r\n") - len(b"0\r\n\r\n")
        client = connect()
        client.send(*cut(CHUNKED + b"1;%b\r\nx\r\n0\r\n\r\n" % (b"e" * rest)))
        assert client.reply().status == (200 if overhead <= 0 else 413)


@FAKE_CLOCK
class TestKeepingTheConnection:
    async def test_a_connection_is_kept_over_many_requests(self, connect: Connect) -> None:
        client = connect()
        for number in range(1, 50):
            client.send(GET)
            assert len(client.replies()) == number
        assert not client.is_closed()

    @pytest.mark.parametrize(
        "request_bytes",
        [
            pytest.param(
                b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", id="asked for"
            ),
            pytest.param(b"GET /x HTTP/1.0\r\nHost: a\r\n\r\n", id="HTTP/1.0"),
            pytest.param(b"GET /x HTTP/1.0\r\n\r\n", id="HTTP/1.0 without Host"),
        ],
    )
    async def test_a_connection_is_closed_after_its_last_answer(
        self, connect: Connect, cut: Callable[[bytes], Sequence[bytes]], request_bytes: bytes
    ) -> None:
        client = connect()
        client.send(*cut(request_bytes + GET))
        await settle()
        reply = client.reply()
        assert (reply.status, reply.headers["connection"]) == (200, "close")
        assert client.is_closed()

    async def test_while_draining_every_answer_is_the_last(
        self, connect: Connect, door: Door
    ) -> None:
        client = connect()
        client.send(GET)
        door.site.draining = True
        client.send(GET + GET)
        await settle()
        first, second = client.replies()
        assert "connection" not in first.headers
        assert second.headers["connection"] == "close"
        assert client.is_closed()

    async def test_only_connections_without_a_request_are_idle(
        self, connect: Connect, door: Door
    ) -> None:
        fresh, between, in_head, in_content, waiting = (connect() for _ in range(5))
        between.send(GET)
        in_head.send(GET[:-5])
        in_content.send(post(b"hello")[:-2])
        waiting.send(GET_LATER)
        between.read()
        door.site.close_idle()
        await settle()
        clients = (fresh, between, in_head, in_content, waiting)
        assert [client.is_closed() for client in clients] == [True, True, False, False, False]
        assert len(door.site.connections) == 3

        in_head.send(GET[-5:])
        in_content.send(b"lo")
        door.gate.set()
        await settle()
        for client in (in_head, in_content, waiting):
            assert client.reply().status == 200

    async def test_all_connections_can_be_waited_for(self, connect: Connect, door: Door) -> None:
        await door.site.wait_closed()
        clients = [connect() for _ in range(3)]
        waiting = asyncio.create_task(door.site.wait_closed())
        for client in clients:
            await settle()
            assert not waiting.done()
            client.transport.lose()
        await waiting


@FAKE_CLOCK
class TestRoom:
    async def test_a_new_connection_takes_the_place_of_the_one_that_is_idle_for_longest(
        self, connect: Connect, door: Door
    ) -> None:
        door.room = 3
        first, *_ = clients = [connect() for _ in range(3)]
        first.send(GET)
        new = [connect()]
        await settle()
        assert [client.is_closed() for client in clients] == [False, True, False]
        new.append(connect())
        await settle()
        assert [client.is_closed() for client in clients] == [False, True, True]
        assert len(first.replies()) == 1
        for client in (first, *new):
            client.send(GET)
            assert client.replies()[-1].status == 200
        assert door.site.replaced_connections == 2
        assert door.site.refused_connections == 0
        assert len(door.site.connections) == 3

    async def test_a_request_that_has_begun_is_never_closed_for_another(
        self, connect: Connect, door: Door
    ) -> None:
        busy = [connect(8192) for _ in range(4)]
        door.room = len(busy)
        in_head, in_content, waiting, reading = busy
        in_head.send(GET[:-5])
        in_content.send(post(b"hello")[:-2])
        waiting.send(GET_LATER)
        reading.send(GET_BIG)
        newcomer = connect()
        newcomer.send(GET)
        await settle()
        assert newcomer.is_closed()
        assert newcomer.read() == b""
        assert door.site.refused_connections == 1
        in_head.send(GET[-5:])
        in_content.send(b"lo")
        door.gate.set()
        await settle()
        assert [client.reply().status for client in busy] == [200] * 4

    async def test_where_nothing_is_idle_some_routes_have_a_reserve(
        self, connect: Connect, door: Door
    ) -> None:
        door.room = 1
        connect().send(GET_LATER)
        extra = []
        for _ in range(32):
            extra.append(connect())
            extra[-1].send(GET[:5])
        over = connect()
        await settle()
        assert over.is_closed()
        for client in extra[:16]:
            client.send(b"reserved HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.reply().content == b"GET /reserved? "
        for client in extra[16:]:
            client.send(GET[5:])
        await settle()
        assert all(client.is_closed() for client in extra[16:])
        assert not any(client.read() for client in extra[16:])
        assert door.site.refused_connections == 17

    async def test_what_came_without_room_may_ask_for_anything_when_there_is_room(
        self, connect: Connect, door: Door
    ) -> None:
        door.room = 1
        connect().send(GET_LATER)
        newcomer = connect()
        door.room = 2
        newcomer.send(GET)
        assert newcomer.reply().status == 200

    async def test_a_head_that_does_not_come_makes_room_after_a_second(
        self, connect: Connect, door: Door, clock: FakeClockLoop
    ) -> None:
        door.room = 1
        slow = connect()
        slow.send(GET[:-5])
        clock.advance(1.1)
        newcomer = connect()
        newcomer.send(GET)
        await settle()
        assert newcomer.reply().status == 200
        assert slow.is_closed()

    async def test_a_connection_that_is_closing_makes_room(
        self, connect: Connect, door: Door
    ) -> None:
        door.room = 1
        closing = connect()
        closing.send(b"bad\r\n\r\n")
        newcomer = connect()
        newcomer.send(GET)
        await settle()
        assert newcomer.reply().status == 200
        assert closing.reply().status == 400


@FAKE_CLOCK
class TestBacklog:
    async def test_answers_that_are_not_read_are_counted_until_they_are(
        self, connect: Connect, door: Door
    ) -> None:
        client = connect(8192)
        client.send(GET_BIG + GET)
        assert 200_000 < door.site.backlog.held_bytes <= 301_000
        client.read()
        assert len(client.replies()) == 2
        assert door.site.backlog.held_bytes == 0

    async def test_requests_that_are_not_whole_are_counted_until_they_are(
        self, connect: Connect, door: Door
    ) -> None:
        client = connect()
        content = b"x" * 60_000
        client.send(*pieces_of(post(content)[:-1], [10_000] * 4))
        assert door.site.backlog.held_bytes == len(content) - 1
        client.send(b"x")
        assert client.reply().status == 200
        assert door.site.backlog.held_bytes == 0

    async def test_requests_behind_another_are_counted(self, connect: Connect, door: Door) -> None:
        client = connect()
        client.send(GET_LATER + GET * 1000)
        assert door.site.backlog.held_bytes == len(GET) * 1000
        client.transport.lose()
        assert door.site.backlog.held_bytes == 0

    async def test_over_the_limit_stalled_clients_are_closed(
        self, connect: Connect, door: Door
    ) -> None:
        clients = [connect(8192) for _ in range(20)]
        for client in clients:
            client.send(GET_BIG)
        await settle()
        stalled = [client.transport.closed for client in clients]
        assert stalled == sorted(stalled, reverse=True), "those that came first"
        assert stalled.count(True) == door.site.backlog.cut
        assert 5 <= door.site.backlog.cut <= 9
        assert door.site.backlog.held_bytes <= HTTP_LIMIT_TOTAL
        assert len(door.site.connections) == stalled.count(False)

    async def test_a_client_that_reads_steadily_is_answered_all_the_same(
        self, connect: Connect, door: Door
    ) -> None:
        reading = connect(8192)
        reading.send(GET_BIG)
        for _ in range(40):
            reading.received += reading.transport.received(5000)
            reading.transport.flush()
            connect(8192).send(GET_BIG)
            await settle()
        assert door.site.backlog.cut > 20
        assert len(reading.reply().content) == 300_000

    async def test_a_stream_takes_its_bytes_with_it(self, connect: Connect, door: Door) -> None:
        client = connect(8192)
        client.send(GET_BIG + GET_STREAM)
        client.read()
        assert door.site.backlog.held_bytes == 0
        assert not door.site.connections


@FAKE_CLOCK
class TestPipelining:
    async def test_answers_come_in_the_order_of_the_requests(
        self, connect: Connect, door: Door, cut: Callable[[bytes], Sequence[bytes]]
    ) -> None:
        requests = [
            post(b"%d" % number, path=b"/later" if number % 3 else b"/echo") for number in range(30)
        ]
        client = connect()
        client.send(*cut(b"".join(requests)))
        await settle()
        assert [reply.content for reply in client.replies()] == [b"POST /echo? 0"]
        door.gate.set()
        await settle()
        await settle()
        contents = [reply.content.partition(b" ")[2] for reply in client.replies()]
        assert [int(content.partition(b" ")[2]) for content in contents] == list(range(30))

    async def test_one_request_is_carried_out_at_a_time(self, connect: Connect, door: Door) -> None:
        client = connect()
        client.send(GET_LATER + GET)
        await settle()
        assert door.requests == []
        assert client.read() == b""

    async def test_other_work_comes_between_the_requests_of_a_client(
        self, connect: Connect, door: Door
    ) -> None:
        client = connect()
        client.send(GET * 200)
        assert len(door.requests) < 50
        await asyncio.sleep(0.001)
        assert len(door.requests) == 200

    async def test_a_client_that_pipelines_during_a_request_is_not_read_from(
        self, connect: Connect, door: Door
    ) -> None:
        client = connect()
        client.send(GET_LATER, *[GET_LONG * 40] * 20)
        assert not client.transport.is_reading()
        assert client.transport.undelivered_bytes > 15 * 40_000
        door.gate.set()
        await until_answered(client, door, 801)
        assert client.transport.is_reading()

    async def test_each_answer_lets_in_no_more_than_it_took_out(
        self, connect: Connect, door: Door
    ) -> None:
        door.gate.set()
        client = connect()
        requests = GET_LONG.replace(b"/echo", b"/later") * 64
        client.send(*[requests] * 40)
        for _ in range(500):
            await asyncio.sleep(0)
            client.read()
        taken_bytes = len(requests) * 40 - client.transport.undelivered_bytes
        assert 10 < len(door.requests) < 1000
        assert taken_bytes - len(GET_LONG) * len(door.requests) < 3 * len(requests)
        client.transport.lose()
        await settle()

    async def test_a_client_that_pipelines_but_never_reads_is_not_read_from(
        self, connect: Connect, door: Door
    ) -> None:
        client = connect(4096)
        client.send(*[GET_LONG * 100] * 40)
        await asyncio.sleep(0.001)
        answered = len(door.requests)
        assert not client.transport.is_reading()
        assert client.transport.undelivered_bytes > 30 * 100_000
        assert client.transport.get_write_buffer_size() < 100_000
        await settle()
        assert len(door.requests) == answered

    async def test_a_client_that_reads_at_last_has_all_its_answers(
        self, connect: Connect, door: Door
    ) -> None:
        client = connect(4096)
        client.send(*[GET_LONG * 100] * 10)
        await asyncio.sleep(0.001)
        assert len(door.requests) < 1000
        await until_answered(client, door, 1000)
        assert client.transport.is_reading()
        assert len(client.replies()) == 1000


async def until_answered(client: Client, door: Door, count: int) -> None:
    """Let the client read until the door has answered so many requests."""
    async with asyncio.timeout(10):
        while len(door.requests) < count:
            client.read()
            await asyncio.sleep(0)
    client.read()


@FAKE_CLOCK
class TestBecomingAStream:
    @pytest.mark.parametrize("path", [b"/stream", b"/stream-later"])
    async def test_the_connection_is_the_stream_s_and_nothing_else_s(
        self,
        connect: Connect,
        door: Door,
        cut: Callable[[bytes], Sequence[bytes]],
        path: bytes,
    ) -> None:
        door.gate.set()
        client = connect()
        client.send(*cut(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path))
        await settle()
        assert client.read() == STREAM_HEAD
        stream = client.transport.get_protocol()
        assert isinstance(stream, EventStream)
        assert not door.site.connections
        stream.write(b"data: x\n\n")
        assert client.read() == STREAM_HEAD + b"data: x\n\n"

    async def test_a_request_before_it_is_answered_first(
        self, connect: Connect, door: Door, cut: Callable[[bytes], Sequence[bytes]]
    ) -> None:
        client = connect()
        client.send(*cut(GET_LATER + GET + GET_STREAM))
        await settle()
        door.gate.set()
        await settle()
        answers, _, after = client.read().partition(STREAM_HEAD)
        assert [reply.status for reply in read_replies(answers)] == [200, 200]
        assert after == b""
        assert len(door.requests) == 2

    async def test_what_is_sent_behind_it_is_ignored(
        self, connect: Connect, door: Door, cut: Callable[[bytes], Sequence[bytes]]
    ) -> None:
        client = connect()
        client.send(*cut(GET_STREAM + GET * 3))
        client.send(GET * 3)
        await settle()
        assert client.read() == STREAM_HEAD
        assert door.requests == []

    async def test_a_client_that_left_is_seen_however_much_it_had_sent(
        self, connect: Connect, door: Door
    ) -> None:
        client = connect()
        client.send(b"GET /stream-later HTTP/1.1\r\nHost: a\r\n\r\n", b"x" * 100_000, b"x")
        await settle()
        assert not client.transport.is_reading()
        door.gate.set()
        await settle()
        assert client.read() == STREAM_HEAD
        client.transport.feed_eof()
        await settle()
        assert len(door.owner.closed) == 1

    async def test_it_is_never_closed_for_a_deadline(
        self, connect: Connect, door: Door, clock: FakeClockLoop
    ) -> None:
        client = connect()
        client.send(GET_STREAM)
        clock.advance(1e6)
        door.site.close_overdue(clock.time())
        assert not client.is_closed()

    async def test_a_client_that_left_meanwhile_gets_none(
        self, connect: Connect, door: Door
    ) -> None:
        client = connect()
        client.send(b"GET /stream-later HTTP/1.1\r\nHost: a\r\n\r\n")
        await settle()
        client.transport.lose()
        door.gate.set()
        await settle()
        assert door.owner.closed == []
        assert not door.site.connections

    async def test_a_client_that_closed_its_half_meanwhile_gets_none(
        self, connect: Connect, door: Door
    ) -> None:
        client = connect()
        client.send(b"GET /stream-later HTTP/1.1\r\nHost: a\r\n\r\n")
        await settle()
        client.transport.feed_eof()
        door.gate.set()
        await settle()
        assert client.is_closed()
        assert client.received == b""


@FAKE_CLOCK
class TestDeadlines:
    """The node looks for overdue connections once a second; here the test does."""

    @pytest.mark.parametrize(
        ("sent", "seconds", "status"),
        [
            pytest.param(b"", HEAD_TIMEOUT_S, None, id="nothing sent"),
            pytest.param(GET[:1], HEAD_TIMEOUT_S, 408, id="one byte of a head"),
            pytest.param(GET[:-1], HEAD_TIMEOUT_S, 408, id="all but one byte of a head"),
            pytest.param(b"GET /\r\n", HEAD_TIMEOUT_S, 408, id="HTTP/0.9"),
            pytest.param(post(b"hello")[:-5], CONTENT_TIMEOUT_S, 408, id="no content"),
            pytest.param(post(b"hello")[:-1], CONTENT_TIMEOUT_S, 408, id="content lacks a byte"),
            pytest.param(CHUNKED + b"5\r\nhello\r\n", CONTENT_TIMEOUT_S, 408, id="no last chunk"),
            pytest.param(CHUNKED + b"0\r\n", CONTENT_TIMEOUT_S, 408, id="no end of trailers"),
        ],
    )
    async def test_what_does_not_arrive_in_time_is_given_up(
        self,
        connect: Connect,
        door: Door,
        clock: FakeClockLoop,
        cut: Callable[[bytes], Sequence[bytes]],
        sent: bytes,
        seconds: float,
        status: int | None,
    ) -> None:
        client = connect()
        client.send(*cut(sent))
        clock.advance(seconds - 0.1)
        door.site.close_overdue(clock.time())
        assert not client.is_closed()
        clock.advance(0.1)
        door.site.close_overdue(clock.time())
        await settle()
        assert client.is_closed()
        assert [reply.status for reply in client.replies()] == ([status] if status else [])
        assert door.site.timed_out == 1
        if status:
            assert client.reply().problem == "request: it did not arrive in time"

    async def test_the_head_s_time_runs_from_its_first_byte(
        self, connect: Connect, door: Door, clock: FakeClockLoop
    ) -> None:
        client = connect()
        for byte in pieces_of(GET[:9]):
            client.send(byte)
            clock.advance(1)
            door.site.close_overdue(clock.time())
        assert not client.is_closed()
        clock.advance(1)
        door.site.close_overdue(clock.time())
        assert client.reply().status == 408

    async def test_an_idle_connection_is_closed_without_a_word(
        self, connect: Connect, door: Door, clock: FakeClockLoop
    ) -> None:
        client = connect()
        client.send(GET)
        clock.advance(KEEP_ALIVE_TIMEOUT_S - 1)
        client.send(GET)
        clock.advance(KEEP_ALIVE_TIMEOUT_S - 1)
        door.site.close_overdue(clock.time())
        assert not client.is_closed()
        clock.advance(1)
        door.site.close_overdue(clock.time())
        await settle()
        assert client.is_closed()
        assert [reply.status for reply in client.replies()] == [200, 200]

    async def test_a_head_that_has_begun_behind_an_answer_has_a_head_s_time(
        self, connect: Connect, door: Door, clock: FakeClockLoop
    ) -> None:
        client = connect()
        client.send(GET + GET[:5])
        await settle()
        clock.advance(HEAD_TIMEOUT_S)
        door.site.close_overdue(clock.time())
        assert [reply.status for reply in client.replies()] == [200, 408]
        assert client.is_closed()

    async def test_a_handler_has_all_the_time_it_takes(
        self, connect: Connect, door: Door, clock: FakeClockLoop
    ) -> None:
        client = connect()
        client.send(GET_LATER + GET[:5])
        await settle()
        clock.advance(1e6)
        door.site.close_overdue(clock.time())
        door.gate.set()
        await settle()
        assert client.reply().status == 200
        clock.advance(HEAD_TIMEOUT_S)
        door.site.close_overdue(clock.time())
        assert [reply.status for reply in client.replies()] == [200, 408]

    async def test_a_client_that_does_not_read_its_answer_is_cut_off(
        self, connect: Connect, door: Door, clock: FakeClockLoop
    ) -> None:
        client = connect(4096)
        client.send(GET_BIG)
        clock.advance(29)
        door.site.close_overdue(clock.time())
        assert not client.transport.is_closing()
        clock.advance(1)
        door.site.close_overdue(clock.time())
        assert client.transport.aborted

    async def test_a_client_that_reads_steadily_gets_all_however_long_it_takes(
        self, connect: Connect, door: Door, clock: FakeClockLoop
    ) -> None:
        client = connect(4096)
        client.send(GET_BIG)
        while client.transport.get_write_buffer_size():
            clock.advance(29)
            door.site.close_overdue(clock.time())
            client.received += client.transport.received(10_000)
            client.transport.flush()
        assert len(client.reply().content) == 300_000
        assert door.site.timed_out == 0

    async def test_a_client_that_stops_reading_halfway_is_cut_off(
        self, connect: Connect, door: Door, clock: FakeClockLoop
    ) -> None:
        client = connect(4096)
        client.send(GET_BIG)
        client.transport.received(100_000)
        client.transport.flush()
        clock.advance(30)
        door.site.close_overdue(clock.time())
        assert not client.transport.is_closing()
        clock.advance(30)
        door.site.close_overdue(clock.time())
        assert client.transport.aborted
        assert door.site.timed_out == 1

    async def test_sending_more_is_not_reading(
        self, connect: Connect, door: Door, clock: FakeClockLoop
    ) -> None:
        client = connect(4096)
        client.send(GET_BIG)
        for _ in range(30):
            client.send(b"G")
            clock.advance(1)
            door.site.close_overdue(clock.time())
        assert client.transport.aborted

    async def test_a_client_that_reads_a_long_last_answer_slowly_gets_all_of_it(
        self, connect: Connect, door: Door, clock: FakeClockLoop
    ) -> None:
        client = connect(4096)
        client.send(GET_BIG.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        for _ in range(20):
            clock.advance(1)
            door.site.close_overdue(clock.time())
            client.received += client.transport.received(10_000)
            client.transport.flush()
        assert not client.transport.aborted
        assert len(client.reply().content) == 300_000
        clock.advance(2)
        door.site.close_overdue(clock.time())
        await settle()
        assert client.transport.closed

    async def test_who_does_not_close_after_the_last_answer_is_closed(
        self, connect: Connect, door: Door, clock: FakeClockLoop
    ) -> None:
        client = connect()
        client.send(b"nonsense\r\n\r\n")
        for _ in range(10):
            client.send(b"more" * 1000)
        clock.advance(1.9)
        door.site.close_overdue(clock.time())
        await settle()
        assert len(door.site.connections) == 1
        clock.advance(0.1)
        door.site.close_overdue(clock.time())
        await settle()
        assert client.transport.closed
        assert client.reply().status == 400


@FAKE_CLOCK
class TestClientsThatLeave:
    async def test_who_closes_its_half_is_answered_and_closed(
        self, connect: Connect, door: Door
    ) -> None:
        client = connect()
        client.send(GET_LATER)
        client.transport.feed_eof()
        await settle()
        assert not client.is_closed()
        door.gate.set()
        await settle()
        assert client.reply().status == 200
        assert client.transport.closed

    async def test_all_that_was_asked_for_is_answered(self, connect: Connect, door: Door) -> None:
        client = connect()
        client.send(GET + GET_LATER + GET + GET_LATER + GET + b"GET /half")
        client.transport.feed_eof()
        door.gate.set()
        await asyncio.sleep(0.001)
        assert [reply.status for reply in client.replies()] == [200] * 5
        assert client.transport.closed

    async def test_all_that_was_asked_for_is_answered_when_it_is_read_late(
        self, connect: Connect, door: Door
    ) -> None:
        client = connect(4096)
        client.send(GET_BIG + GET + GET_BIG)
        client.transport.feed_eof()
        await settle()
        assert not client.transport.closed
        for _ in range(10):
            client.read()
            await settle()
        assert [len(reply.content) for reply in client.replies()] == [300_000, 11, 300_000]
        assert client.transport.closed

    @pytest.mark.parametrize("sent", [b"", GET[:9], post(b"hello")[:-2], GET])
    async def test_who_closes_its_half_early_is_closed(
        self, connect: Connect, door: Door, sent: bytes
    ) -> None:
        client = connect()
        client.send(sent)
        client.transport.feed_eof()
        await settle()
        assert client.transport.closed
        assert len(client.replies()) == (1 if sent == GET else 0)
        assert not door.site.connections

    async def test_a_request_is_carried_out_when_its_client_is_gone(
        self, connect: Connect, door: Door
    ) -> None:
        client = connect()
        client.send(GET_LATER + GET)
        await settle()
        client.transport.lose(ConnectionResetError())
        door.gate.set()
        await settle()
        assert [request.path for request in door.requests] == ["/later"]
        assert not door.site.connections

    async def test_nothing_can_be_done_to_a_connection_that_is_gone(
        self, connect: Connect, door: Door
    ) -> None:
        client = connect()
        connection = client.transport.get_protocol()
        assert isinstance(connection, HttpConnection)
        client.transport.lose()
        assert not connection.on_deadline()
        connection.close()
        connection.abort()
        assert not door.site.connections

    @pytest.mark.parametrize(
        "request_bytes",
        [
            GET_LATER,
            GET_LATER.replace(b"1.1", b"1.0"),
            b"GET /stream-later HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /refused-later HTTP/1.1\r\nHost: a\r\n\r\n",
        ],
    )
    async def test_an_answer_that_comes_while_the_connection_is_ended_is_dropped(
        self, connect: Connect, door: Door, request_bytes: bytes
    ) -> None:
        client = connect()
        client.send(request_bytes)
        await settle()
        [connection] = door.site.connections
        door.gate.set()
        connection.abort()
        await settle()
        assert client.is_closed()
        assert client.received == b""
        assert not door.site.connections

    async def test_it_can_be_aborted(self, connect: Connect, door: Door) -> None:
        client = connect()
        [connection] = door.site.connections
        connection.abort()
        await settle()
        assert client.is_closed()


class Socket:
    """A client with a real socket."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        self.socket.connect(address)
        self.socket.setblocking(False)

    async def send(self, data: bytes) -> None:
        async with asyncio.timeout(10):
            await asyncio.get_running_loop().sock_sendall(self.socket, data)

    def send_now(self, data: bytes) -> int:
        """Send what the kernel takes; return how many bytes."""
        with contextlib.suppress(BlockingIOError):
            return self.socket.send(data)
        return 0

    async def read_until(self, end: bytes) -> bytes:
        received = b""
        async with asyncio.timeout(10):
            while not received.endswith(end):
                data = await asyncio.get_running_loop().sock_recv(self.socket, 65536)
                assert data, f"the end after {received!r}"
                received += data
        return received

    async def read_to_end(self) -> bytes:
        received = bytearray()
        async with asyncio.timeout(10):
            while data := await asyncio.get_running_loop().sock_recv(self.socket, 65536):
                received += data
        return bytes(received)

    async def replies_to_end(self, *methods: str) -> list[Reply]:
        return read_replies(await self.read_to_end(), methods, closed=True)


@BOTH_LOOPS
class TestOnLoopback:
    """The same with real transports: what they do by themselves is part of the behaviour."""

    @pytest.fixture
    async def open_socket(self, door: Door) -> AsyncIterator[Callable[[], Socket]]:
        loop = asyncio.get_running_loop()
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        server = await loop.create_server(lambda: HttpConnection(door.site), sock=listener)
        clients: list[Socket] = []

        def open_socket() -> Socket:
            clients.append(Socket(listener.getsockname()))
            return clients[-1]

        yield open_socket
        server.close()
        for client in clients:
            client.socket.close()
        async with asyncio.timeout(10):
            await door.site.wait_closed()

    async def test_requests_are_answered_in_order_on_one_connection(
        self, open_socket: Callable[[], Socket], door: Door
    ) -> None:
        client = open_socket()
        await client.send(GET + GET_LATER + post(b"x") + GET.replace(b"GET", b"HEAD"))
        assert (await client.read_until(b"GET /echo? ")).startswith(b"HTTP/1.1 200 OK\r\n")
        door.gate.set()
        await client.send(GET.replace(b"1.1", b"1.0"))
        replies = await client.replies_to_end("GET", "POST", "HEAD", "GET")
        assert [reply.content for reply in replies] == [
            b"GET /later? ",
            b"POST /echo? x",
            b"",
            b"GET /echo? ",
        ]

    async def test_a_client_that_is_still_sending_sees_the_refusal(
        self, open_socket: Callable[[], Socket], door: Door
    ) -> None:
        client = open_socket()
        content = b"x" * 2_000_000
        await client.send(post(content))
        [reply] = await client.replies_to_end()
        assert reply.problem == "content: expected at most 65536 bytes"

    async def test_a_client_that_is_still_sending_chunks_sees_the_refusal(
        self, open_socket: Callable[[], Socket], door: Door
    ) -> None:
        client = open_socket()
        await client.send(CHUNKED + b"1000\r\n%b\r\n" % (b"x" * 4096) * 500)
        [reply] = await client.replies_to_end()
        assert reply.status == 413

    async def test_who_closes_its_half_has_all_its_answers(
        self, open_socket: Callable[[], Socket], door: Door
    ) -> None:
        client = open_socket()
        await client.send(GET_BIG + GET_LATER + GET_BIG)
        client.socket.shutdown(socket.SHUT_WR)
        door.gate.set()
        replies = await client.replies_to_end()
        assert [len(reply.content) for reply in replies] == [300_000, 12, 300_000]

    async def test_a_stream_begins_after_a_long_answer(
        self, open_socket: Callable[[], Socket], door: Door
    ) -> None:
        client = open_socket()
        await client.send(GET_BIG + GET_LATER + GET_STREAM)
        door.gate.set()
        received = await client.read_until(STREAM_HEAD)
        replies = read_replies(received.removesuffix(STREAM_HEAD))
        assert [len(reply.content) for reply in replies] == [300_000, 12]
        client.socket.close()
        await door.owner.until(lambda: len(door.owner.closed) == 1)

    async def test_a_client_that_never_reads_cannot_send_without_end(
        self, open_socket: Callable[[], Socket], door: Door
    ) -> None:
        client = open_socket()
        sent = 0
        idle_rounds = 0
        while idle_rounds < 50:
            answered = len(door.requests)
            count = client.send_now(GET_LONG * 100)
            sent += count
            assert sent < 8_000_000, "the kernel's buffers and what the node takes"
            await asyncio.sleep(0.001)  # the kernel moves bytes from one socket to the other
            is_idle = not count and len(door.requests) == answered
            idle_rounds = idle_rounds + 1 if is_idle else 0
        [connection] = door.site.connections
        assert isinstance(connection, HttpConnection)
        assert len(connection._buffer) < 400_000
        answered = len(door.requests)
        await settle()
        assert len(door.requests) == answered
        connection.abort()

    async def test_a_client_that_does_not_read_is_cut_off(
        self, open_socket: Callable[[], Socket], door: Door
    ) -> None:
        client = open_socket()
        await client.send(GET_BIG * 10)
        await door.until(lambda: len(door.requests) > 0)
        now = asyncio.get_running_loop().time()
        door.site.close_overdue(now + 31)  # the kernel may have taken more since the answer
        door.site.close_overdue(now + 62)
        await door.site.wait_closed()
        with contextlib.suppress(ConnectionResetError):
            assert len(await client.read_to_end()) < 300_000

    async def test_a_broken_connection_is_forgotten(
        self, open_socket: Callable[[], Socket], door: Door
    ) -> None:
        client = open_socket()
        await client.send(GET)
        await client.read_until(b"GET /echo? ")
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.socket.close()
        await door.site.wait_closed()

    async def test_without_room_the_client_is_closed(
        self, open_socket: Callable[[], Socket], door: Door
    ) -> None:
        door.room = 0
        client = open_socket()
        await client.send(GET)
        with contextlib.suppress(ConnectionResetError):
            assert await client.read_to_end() == b""

    async def test_an_idle_client_makes_room(
        self, open_socket: Callable[[], Socket], door: Door
    ) -> None:
        door.room = 1
        idle = open_socket()
        await idle.send(GET)
        await idle.read_until(b"GET /echo? ")
        client = open_socket()
        await client.send(GET)
        await client.read_until(b"GET /echo? ")
        assert await idle.read_to_end() == b""
        assert door.site.replaced_connections == 1


BLOCKED_AT_MOST_STEPS = 5  # no input blocks the event loop for longer


def cost_of(
    connect: Connect, *data: bytes, enough: float = BLOCKED_AT_MOST_STEPS
) -> tuple[Client, float]:
    """Return a client that has sent the data, and the CPU time of it in steps."""
    clients = []

    def send() -> None:
        clients.append(connect())
        clients[-1].send(*data)

    steps = steps_of(send, enough)
    return clients[-1], steps


@FAKE_CLOCK
class TestCost:
    """Bounds of CPU time, wide enough for a busy machine: what they guard against is quadratic."""

    async def test_64_kib_in_chunks_of_one_byte(self, connect: Connect) -> None:
        data = CHUNKED + b"1\r\nx\r\n" * 65536
        client, steps = cost_of(connect, *pieces_of(data, [4096] * (len(data) // 4096)))
        assert steps < BLOCKED_AT_MOST_STEPS
        assert client.reply().status == 413

    async def test_chunks_of_a_byte_as_many_as_there_may_be(self, connect: Connect) -> None:
        client, steps = cost_of(connect, CHUNKED + b"1\r\nx\r\n" * 2700)
        assert steps < BLOCKED_AT_MOST_STEPS
        client.send(b"0\r\n\r\n")
        assert client.reply().content == b"POST /echo? " + b"x" * 2700

    async def test_empty_lines_as_many_as_are_read_at_once(self, connect: Connect) -> None:
        client, steps = cost_of(connect, b"\r\n" * 131_072 + GET)
        assert steps < BLOCKED_AT_MOST_STEPS
        assert client.reply().status == 200

    async def test_pipelined_requests_with_long_heads(self, connect: Connect) -> None:
        lines = b"".join(b"X-%d: %b\r\n" % (number, b"v" * 140) for number in range(98))
        request = GET.replace(b"\r\n\r\n", b"\r\n%b\r\n" % lines)
        client, steps = cost_of(connect, request * 17)
        assert steps < BLOCKED_AT_MOST_STEPS
        await settle()
        assert len(client.replies()) == 17

    async def test_a_head_of_16_kib_in_reads_of_one_byte(self, connect: Connect) -> None:
        head = b"GET /x HTTP/1.1\r\nHost: a\r\n" + b"X-Filler: %b\r\n" % (b"f" * 900) * 17
        client, steps = cost_of(connect, *pieces_of(head), enough=200)
        assert steps < 200  # it takes 80; if each of the 16,000 reads began anew, 2,000
        assert client.read() == b""

"""Keys from a real HTTP server that is down, slow, wrong, or serves another set."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING

import pytest

from sse_node.access import jwks, jwks_download
from sse_node.access.jwks import JwksUrl, fetch_keys
from sse_node.errors import ConfigError
from tests.support.fakes import Watched
from tests.support.jwks_server import JwksServer
from tests.support.nodes import wait_until
from tests.support.tokens import key_set, signer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

A, B = signer("RS256", "a"), signer("ES256", "b")


@pytest.fixture
def server() -> Iterator[JwksServer]:
    with JwksServer(A) as server:
        yield server


class Keys(Watched):
    """What a JwksUrl has told."""

    def __init__(self, url: str, algorithm: str = "") -> None:
        super().__init__()
        self.changes = 0
        self.jwks = JwksUrl(url, algorithm, self._count)

    def _count(self) -> None:
        self.changes += 1
        self.on_change()

    @property
    def kids(self) -> list[str]:
        return [key.key_id for key in self.jwks.keys]


@pytest.fixture
async def make_keys(server: JwksServer) -> AsyncIterator[Callable[..., Keys]]:
    made: list[Keys] = []

    def make(algorithm: str = "") -> Keys:
        made.append(Keys(server.url, algorithm))
        return made[-1]

    yield make
    server.gate.set()
    for keys in made:
        await keys.jwks.shutdown()


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "_FIRST_RETRY_S", 0.01)
    monkeypatch.setattr(jwks, "_LAST_RETRY_S", 0.02)


async def until(is_true: Callable[[], bool]) -> None:
    """Wait for what a thread does."""
    await asyncio.to_thread(wait_until, is_true, "what a thread does")


async def test_the_set_is_fetched_at_the_start(
    server: JwksServer, make_keys: Callable[..., Keys], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    keys = make_keys()
    assert keys.kids == []
    keys.jwks.start()
    await keys.until(lambda: keys.kids == ["a"])
    assert (keys.changes, keys.jwks.failures, server.requests) == (1, 0, 1)
    assert "--jwks-url: 1 keys" in caplog.messages


async def test_an_unknown_kid_fetches_the_new_set_although_one_was_just_fetched(
    server: JwksServer, make_keys: Callable[..., Keys]
) -> None:
    keys = make_keys()
    keys.jwks.start()
    await keys.until(lambda: keys.kids == ["a"])
    server.serve(B)
    await keys.jwks.refresh()
    assert (keys.kids, keys.changes, server.requests) == (["b"], 2, 2)


async def test_unknown_kids_fetch_at_most_once_in_30_s(
    server: JwksServer, make_keys: Callable[..., Keys], monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1000.0
    monkeypatch.setattr(jwks, "monotonic", lambda: now_s)
    keys = make_keys()
    for _ in range(3):
        await keys.jwks.refresh()
    now_s += 29.9
    await keys.jwks.refresh()
    assert server.requests == 1
    now_s += 0.1
    await keys.jwks.refresh()
    await keys.jwks.refresh()
    assert (server.requests, keys.changes) == (2, 1)


async def test_requests_share_the_fetch_in_progress(
    server: JwksServer, make_keys: Callable[..., Keys]
) -> None:
    server.gate.clear()
    keys = make_keys()
    keys.jwks.start()  # the first requests after a start come before the first set has
    await until(lambda: server.requests == 1)
    waiting = [asyncio.create_task(keys.jwks.refresh()) for _ in range(20)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    waiting[0].cancel()  # its client has left
    server.gate.set()
    await asyncio.gather(*waiting[1:])
    assert (keys.kids, server.requests) == (["a"], 1)


async def test_the_keys_are_kept_while_the_url_is_down(
    server: JwksServer,
    make_keys: Callable[..., Keys],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jwks, "_LIFE_S", 0.01)
    keys = make_keys()
    keys.jwks.start()
    await keys.until(lambda: keys.kids == ["a"])
    server.stop()
    await until(lambda: keys.jwks.failures >= 3)
    assert (keys.kids, keys.changes) == (["a"], 1)
    server.serve(B)
    server.start()
    await keys.until(lambda: keys.kids == ["b"])
    warnings = [each for each in caplog.messages if "fetch failed" in each]
    assert warnings == ["--jwks-url: fetch failed: Connection refused; keeping 1 keys"]


async def test_a_start_without_the_url_is_made_good(
    server: JwksServer, make_keys: Callable[..., Keys], caplog: pytest.LogCaptureFixture
) -> None:
    server.stop()
    keys = make_keys()
    keys.jwks.start()
    await until(lambda: keys.jwks.failures >= 2)
    assert caplog.messages == [
        "--jwks-url: fetch failed: Connection refused; it has given no keys yet"
    ]
    server.start()
    await keys.until(lambda: keys.kids == ["a"])


async def test_the_same_set_is_no_change(
    server: JwksServer, make_keys: Callable[..., Keys], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "_LIFE_S", 0.001)
    keys = make_keys()
    keys.jwks.start()
    await until(lambda: server.requests > 3)
    assert keys.changes == 1


async def test_keys_of_another_algorithm_and_secrets_are_ignored(
    server: JwksServer, make_keys: Callable[..., Keys]
) -> None:
    server.serve(A, B, signer("HS256", "s"))
    keys = make_keys("ES256")
    await keys.jwks.refresh()
    assert keys.kids == ["b"]


async def test_shutdown_does_not_wait_for_a_server_that_does_not_answer(
    server: JwksServer, make_keys: Callable[..., Keys]
) -> None:
    server.gate.clear()
    keys = make_keys()
    keys.jwks.start()
    await until(lambda: server.requests == 1)
    async with asyncio.timeout(1):
        await keys.jwks.shutdown()
    server.gate.set()
    await until(lambda: "jwks" not in _threads())
    assert keys.kids == []


def _threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


async def test_shutdown_before_the_start(make_keys: Callable[..., Keys]) -> None:
    await make_keys().jwks.shutdown()


def test_an_answer_after_the_end_of_the_loop_is_dropped(server: JwksServer) -> None:
    server.gate.clear()

    async def begin() -> None:
        keys = Keys(server.url)
        keys.jwks.start()
        await until(lambda: server.requests == 1)
        await keys.jwks.shutdown()

    asyncio.run(begin())
    server.gate.set()
    wait_until(lambda: "jwks" not in _threads(), "the end of the thread")


async def test_a_bug_surfaces(
    make_keys: Callable[..., Keys], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "fetch_keys", lambda url, algorithm: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        await make_keys().jwks.refresh()


def short(server: JwksServer) -> None:
    server.claimed_bytes = 5


def redirecting(server: JwksServer) -> None:
    server.status, server.location = 302, server.url.replace("tenant", "other")


def redirecting_to_a_file(server: JwksServer) -> None:
    server.status, server.location = 301, "file:///etc/hostname"


def failing(server: JwksServer) -> None:
    server.status = 500


def partial(server: JwksServer) -> None:
    server.status = 206


def huge(server: JwksServer) -> None:
    server.content = b"x" * (1024 * 1024 + 1)


def dripping(server: JwksServer) -> None:
    server.drips = True


def silent(server: JwksServer) -> None:
    server.gate.clear()


@pytest.mark.parametrize(
    ("become", "reason"),
    [
        (JwksServer.stop, "Connection refused"),
        (short, "IncompleteRead|too early"),
        (redirecting, "status 302"),
        (redirecting_to_a_file, "status 301"),
        (failing, "status 500"),
        (partial, "status 206"),
        (huge, "more than 1048576 bytes"),
        (dripping, "not complete within 0.1 s"),
        (silent, "timed out"),
    ],
)
def test_a_fetch_fails_in_bounded_time_and_names_no_url(
    server: JwksServer,
    become: Callable[[JwksServer], None],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jwks_download, "_TIMEOUT_S", 0.1)
    become(server)
    with pytest.raises(OSError, match=reason) as caught:
        fetch_keys(server.url, "")
    assert "tenant" not in str(caught.value)
    assert server.requests <= 1
    server.gate.set()


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>", b'"a text of more than 32 bytes that is no secret"', b"[]", b"{}",
     key_set(), key_set(signer("HS256", "s").jwk()), A.file(), b'{"keys":' + b"[" * 99_999],
    ids=["nothing", "page", "text", "list", "object", "no keys", "secret", "PEM", "deep"],
)  # fmt: skip
def test_an_answer_without_a_public_key_is_an_error(server: JwksServer, content: bytes) -> None:
    server.content = content
    with pytest.raises(ConfigError, match="--jwks-url: "):
        fetch_keys(server.url, "")


@pytest.mark.parametrize(
    "url", ["http://256.256.256.256/", "http://[::1/", "http://127.0.0.1:99999/", "http://a b/"]
)
def test_a_url_that_leads_nowhere(url: str) -> None:
    with pytest.raises(OSError, match=r"\w"):
        fetch_keys(url, "")

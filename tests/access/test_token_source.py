"""Tokens verified with keys of a file, of a URL, or of both, while these change."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sse_node.access import jwks
from sse_node.access.token_source import TokenSource
from sse_node.config.reading import read_settings
from sse_node.errors import NoKeysError, TokenError
from tests.support.jwks_server import JwksServer
from tests.support.tokens import key_set, signer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from sse_node.wire.identity import Identity

A, B, PEM = signer("RS256", "a"), signer("RS256", "b"), signer("RS256")


@pytest.fixture
def server() -> Iterator[JwksServer]:
    with JwksServer(A) as server:
        yield server


@pytest.fixture
async def make_source() -> AsyncIterator[Callable[..., TokenSource]]:
    made: list[TokenSource] = []

    def make(**flags: str) -> TokenSource:
        access = read_settings({"auth": "jwt", **flags}, {}).access
        made.append(TokenSource(access, lambda: None))
        return made[-1]

    yield make
    for source in made:
        await source.shutdown()


async def now(answer: Identity | Awaitable[Identity]) -> str | None:
    identity = await answer if inspect.isawaitable(answer) else answer
    return identity.user


async def test_a_file_alone(tmp_path: Path, make_source: Callable[..., TokenSource]) -> None:
    path = tmp_path / "keys"
    path.write_bytes(key_set(A.jwk()))
    source = make_source(jwt_key=str(path))
    source.start()
    assert await now(source.verify(A.token())) == "ann"
    with pytest.raises(TokenError):
        source.verify(B.token())
    path.write_bytes(key_set(B.jwk(), {}))
    source.reload()
    assert await now(source.verify(B.token())) == "ann"
    with pytest.raises(TokenError):
        source.verify(A.token())


async def test_a_url_alone_is_asked_within_the_request(
    server: JwksServer, make_source: Callable[..., TokenSource]
) -> None:
    source = make_source(jwks_url=server.url)
    source.reload()
    assert await now(source.verify(A.token())) == "ann"
    assert not inspect.isawaitable(source.verify(A.token())), "from memory"
    assert server.requests == 1


async def test_a_key_that_is_gone_from_the_url_verifies_nothing_any_more(
    server: JwksServer, make_source: Callable[..., TokenSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "_REFRESH_S", 0.0)
    source = make_source(jwks_url=server.url)
    token = A.token()
    assert await now(source.verify(token)) == "ann"
    server.serve(B)
    assert await now(source.verify(B.token())) == "ann"
    with pytest.raises(TokenError, match="no key has its kid"):
        await now(source.verify(token))


async def test_a_url_beside_a_file_with_a_key_without_a_name(
    server: JwksServer, tmp_path: Path, make_source: Callable[..., TokenSource]
) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(PEM.file())
    source = make_source(jwt_key=str(path), jwks_url=server.url)
    assert await now(source.verify(PEM.token())) == "ann"
    assert await now(source.verify(A.token())) == "ann"
    assert server.requests == 1


async def test_a_token_that_is_wrong_in_another_way_fetches_nothing(
    server: JwksServer, make_source: Callable[..., TokenSource]
) -> None:
    source = make_source(jwks_url=server.url)
    assert await now(source.verify(A.token())) == "ann"
    forged = A.token()[:-10] + "AAAAAAAAAA"
    for token in (A.token(expires_in_s=-60), "x", forged, A.token("ann b")):
        with pytest.raises(TokenError):
            source.verify(token)
    assert server.requests == 1


@pytest.mark.parametrize("with_kid", [True, False])
async def test_without_any_key_a_token_is_not_judged(
    server: JwksServer, make_source: Callable[..., TokenSource], with_kid: bool
) -> None:
    server.stop()
    source = make_source(jwks_url=server.url)
    token = (A if with_kid else PEM).token()
    with pytest.raises(NoKeysError, match="have not been fetched yet"):
        await now(source.verify(token))
    server.start()
    source.start()
    await now_or_later(source, A.token())


async def now_or_later(source: TokenSource, token: str) -> None:
    """Verify a token as soon as the first fetch succeeds."""
    for _ in range(200):
        try:
            assert await now(source.verify(token)) == "ann"
        except NoKeysError:
            assert source._url is not None
            await source._url._fetch()
        else:
            return
    pytest.fail("no keys")

"""The npm package, and EventSource without it, with tokens that expire on a real node."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING

import httpx
import jwt
import pytest

from bench.harness import NodeProcess, RedisProcess, free_port
from tests.support.browsers import Client
from tests.support.nodes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.browsers import Profile, Tab

pytestmark = [pytest.mark.integration, pytest.mark.browser]

SECRET = "a secret of thirty-two bytes, or more"
OPTIONS = {"retry": 200, "maxRetry": 1000}
LIFETIME_S = 2.0
"""Of the tokens that expire; a node rounds up to whole seconds."""


class GuardedNode(NodeProcess):
    """A node that takes tokens from headers, a cookie and the query."""

    def __init__(self, redis: RedisProcess, directory: Path) -> None:
        """Take the Redis, and a directory for the secret."""
        self._admin_port = free_port()
        key = directory / "secret"
        key.write_text(SECRET)
        super().__init__(
            *("--redis-url", redis.url, "--server-id", "node-1", "--retry", "200"),
            *("--auth", "jwt", "--jwt-key", str(key)),
            *("--auth-cookie", "token", "--auth-query", "yes"),
            *("--admin-port", str(self._admin_port)),
        )

    def revoke(self, user: str) -> None:
        """Revoke the tokens that a user has now."""
        url = f"http://127.0.0.1:{self._admin_port}/revocations"
        httpx.post(url, json={"user": user, "until": time() + 5}).raise_for_status()


class User:
    """A user of the node, who also publishes.

    Args:
        node: that the user's events are published on.
        name: of the user.
    """

    def __init__(self, node: GuardedNode, name: str) -> None:
        self._node = node
        self.name = name
        self._published = 0

    def token(self, lifetime_s: float = 600) -> str:
        """Return a token; each is another one."""
        claims = {"sub": self.name, "exp": time() + lifetime_s, "publish": [f"user:{self.name}"]}
        return jwt.encode(claims | {"jti": f"{time()}"}, SECRET)

    def publish(self) -> int:
        """Publish an event with the next number."""
        self._published += 1
        event = {"userId": self.name, "eventType": "tick", "data": {"number": self._published}}
        headers = {"Authorization": f"Bearer {self.token()}"}
        httpx.post(f"{self._node.url}/events", json=event, headers=headers).raise_for_status()
        return self._published


@pytest.fixture
def own_node(redis: RedisProcess, tmp_path: Path) -> Iterator[GuardedNode]:
    with GuardedNode(redis, tmp_path) as node:
        node.wait_ready()
        yield node


@pytest.fixture
def owner(own_node: GuardedNode, user: str) -> User:
    return User(own_node, user)


@pytest.fixture
def client(profile: Profile, client_script: str, own_node: GuardedNode) -> Client:
    return Client(profile.new_tab(), client_script, own_node.url)


def set_cookie(tab: Tab, token: str) -> None:
    tab.evaluate("token => { document.cookie = `token=${token}; path=/` }", token)


def publish_until_closed(owner: User, client: Client) -> list[int | str]:
    """Publish until the connection says that it is closed; return the numbers."""
    numbers: list[int | str] = []

    def is_closed() -> bool:
        numbers.append(owner.publish())
        return client.state() == "closed"

    wait_until(is_closed, "the connection is closed")
    return numbers


def publish_until_renewed_twice(owner: User, client: Client) -> list[int | str]:
    """Publish until the stream is open with its third token, and once more."""
    numbers: list[int | str] = []

    def is_renewed() -> bool:
        numbers.append(owner.publish())
        return client.states().count("connecting") >= 3 and client.state() == "open"

    wait_until(is_renewed, "two renewals")
    return [*numbers, owner.publish()]


@pytest.mark.parametrize("transport", ["native", "fetch"])
def test_tokens_are_renewed_while_events_flow(
    client: Client, own_node: GuardedNode, owner: User, transport: str
) -> None:
    tokens = [owner.token(LIFETIME_S), owner.token(2 * LIFETIME_S), owner.token()]
    client.connect(f"{own_node.url}/events/sse", transport=transport, tokens=tokens, **OPTIONS)
    client.wait_for_state("open")
    numbers = publish_until_renewed_twice(owner, client)
    client.wait_for(*numbers)


@pytest.mark.parametrize("transport", ["native", "fetch"])
def test_cookies_are_renewed_while_events_flow(
    client: Client, own_node: GuardedNode, owner: User, transport: str
) -> None:
    set_cookie(client.tab, owner.token(LIFETIME_S))
    cookies = [owner.token(2 * LIFETIME_S), owner.token()]
    client.connect(f"{own_node.url}/events/sse", transport=transport, cookies=cookies, **OPTIONS)
    client.wait_for_state("open")
    numbers = publish_until_renewed_twice(owner, client)
    client.wait_for(*numbers)


@pytest.mark.parametrize("transport", ["native", "fetch"])
def test_connection_ends_without_a_new_token(
    client: Client, own_node: GuardedNode, owner: User, transport: str
) -> None:
    tokens = [owner.token(LIFETIME_S)]
    client.connect(f"{own_node.url}/events/sse", transport=transport, tokens=tokens, **OPTIONS)
    client.wait_for_state("open")
    numbers = publish_until_closed(owner, client)
    told = client.told()
    assert told[-1] == "token-expired"
    assert told[:-1] == numbers[: len(told) - 1]


@pytest.mark.parametrize("transport", ["native", "fetch"])
def test_cookie_is_renewed_and_the_stream_goes_on(
    client: Client, own_node: GuardedNode, owner: User, transport: str
) -> None:
    set_cookie(client.tab, owner.token(LIFETIME_S))
    url = f"{own_node.url}/events/sse"
    client.connect(url, transport=transport, **OPTIONS)
    client.wait_for_state("open")
    numbers = publish_until_closed(owner, client)
    told = client.told()
    assert told[-1] == "token-expired"
    last_event_id = client.tab.evaluate("connection.lastEventId")
    set_cookie(client.tab, owner.token())
    client.connect(url, transport=transport, lastEventId=last_event_id, **OPTIONS)
    client.wait_for(*numbers[len(told) - 1 :])
    numbers.append(owner.publish())
    client.wait_for(*numbers[len(told) - 1 :])


def test_revoked_user_stays_out(client: Client, own_node: GuardedNode, owner: User) -> None:
    tokens = [owner.token()]
    client.connect(f"{own_node.url}/events/sse", tokens=tokens, **OPTIONS)
    client.wait_for_state("open")
    owner.publish()
    client.wait_for(1)
    own_node.revoke(owner.name)
    client.wait_for(1, "revoked")
    assert client.state() == "closed"


@pytest.mark.parametrize("place", ["cookie", "query"])
def test_event_source_gives_up_when_its_token_has_expired(
    client: Client, own_node: GuardedNode, owner: User, place: str
) -> None:
    token = owner.token(LIFETIME_S)
    query = ""
    if place == "cookie":
        set_cookie(client.tab, token)
    else:
        query = f"?access_token={token}"
    client.connect_natively(f"{own_node.url}/events/sse{query}")
    client.wait_for_state("open")
    numbers = publish_until_closed(owner, client)
    set_cookie(client.tab, owner.token())  # too late: it does not try again
    numbers.append(owner.publish())
    assert client.state() == "closed"
    told = client.told()
    assert told == numbers[: len(told)]
    assert len(told) < len(numbers)

"""No event reaches a stream without the right to it, whatever users and channels are called.

Random callers open streams through the gate and the route of a real node, without Redis; events go
through the fan-out as Redis would push them. What a stream may hear is worked out here anew, from
its token's claims.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from sse_node.access.gate import Gate
from sse_node.access.revocations import Revocations
from sse_node.access.rules import Requirement
from sse_node.api.event_stream import EventStreamResource
from sse_node.config.hosts import ANY
from sse_node.config.reading import read_settings
from sse_node.errors import RequestError
from sse_node.http.cors import Cors
from sse_node.http.hosts import AllowedHosts
from sse_node.http.router import Resource, Router
from sse_node.redis.keys import Keys
from sse_node.streams.opening import StreamPlan
from sse_node.wire.envelope import encode_envelope, insert_id
from sse_node.wire.event_id import format_position, parse_position
from sse_node.wire.http_head import Request, parse_head
from tests.support.fakes import FakeTransport
from tests.support.tokens import SECRET, signer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sse_node.redis.commands import RedisCommands
    from tests.support.redis_fixtures import Node

DELIVERIES = 100_000
USERS = ["1", "01", "001", "10", "1.", "1-", "a", "A", "a.", "a:", "a@b", "A@b", "self", "user:a",
         "news", "system-events", "-1", "1:1"]  # fmt: skip
CHANNELS = ["news", "News", "news.", "new", "a", "A", "1", "01", "users:a", "room:1", "room:10"]
PATTERNS = [*CHANNELS, "room:*", "n*", "*s", "*", "user:*", "new*s", "r*:*"]
# As an attacker writes a user: percent-encoded, twice, with what is cut off elsewhere.
SPELLINGS: list[Callable[[str], str]] = [
    lambda user: quote(user, safe=":@"),
    lambda user: "".join(f"%{byte:02X}" for byte in user.encode()),
    lambda user: "".join(f"%{byte:02x}" for byte in user.encode()),
    lambda user: "0" + user,
    lambda user: user + "%00",
    lambda user: user + "%20",
    lambda user: user + ".",
    lambda user: user.swapcase(),
    lambda user: user.replace("1", "%2531"),
    lambda user: user + "/../a",
    lambda user: user + ";a",
]


def matches(pattern: str, name: str) -> bool:
    """Return whether a pattern of a token matches, by an expression of this test's own."""
    return re.fullmatch(".+".join(map(re.escape, re.split(r"\*+", pattern))), name) is not None


@dataclass
class Client:
    """One open stream, and what it has heard."""

    user: str
    may_listen: list[str]
    transport: FakeTransport
    last_id: str = ""
    unread: bytes = b""
    heard: list[str] = field(default_factory=list)

    def read(self) -> int:
        """Read what has come, check each event's right, and return how many came."""
        self.unread += self.transport.received()
        *frames, self.unread = self.unread.split(b"\n\n")
        count = 0
        for frame in frames:
            for line in frame.split(b"\n"):
                if line.startswith(b"id: "):
                    self.last_id = line[4:].decode()
                if line.startswith(b'data: {"eventType":"t"'):
                    count += 1
                    self._check(json.loads(line[6:])["to"])
        return count

    def _check(self, address: str) -> None:
        kind, _, name = address.partition("=")
        self.heard.append(address)
        if kind == "user":
            assert name == self.user, (self.user, address)
        else:
            assert name == "system-events" or any(
                matches(pattern, name) for pattern in self.may_listen
            ), (self.may_listen, address)


class World:
    """A node with tokens, its clients, and a random sequence of events."""

    def __init__(self, node: Node, no_redis: RedisCommands, secret: Path, seed: int) -> None:
        self._node = node
        self._random = random.Random(seed)
        settings = read_settings(
            {"auth": "jwt", "jwt_key": str(secret), "channels": ",".join(CHANNELS)}, {}
        )
        revocations = Revocations(no_redis, Keys(), lambda name: None)
        revocations.is_loaded = True
        gate = Gate(settings.access, (), revocations, node.opening.refuse, lambda: None)
        streams = EventStreamResource(
            node.opening,
            lambda audience: node.shard,
            settings.events,
        )
        self._router = Router(
            [
                Resource("/events/sse", {"GET": streams.get}),
                Resource("/events/sse/{userId}", {"GET": streams.get}),
            ],
            Cors(()),
            AllowedHosts((ANY,)),
            guard_of=lambda method, path: gate.guard(Requirement.OWN_STREAM),
        )
        self._tokens: dict[tuple[str, tuple[str, ...]], str] = {}
        self._position = 1
        node.publish("nobody", 1)
        self.clients: list[Client] = []
        self.deliveries = self.rejected = self.opened = 0

    def step(self) -> None:
        """Open, close or reopen a stream, or publish some events."""
        choice = self._random.random()
        if choice < 0.1 or len(self.clients) < 20:
            self._open()
        elif choice < 0.15:
            self._reopen(self._random.choice(self.clients))
        else:
            self._publish([self._event() for _ in range(self._random.randint(1, 30))])
            for client in self.clients:
                self.deliveries += client.read()
            while len(self.clients) > 60:
                self._close(self.clients[0])

    def _open(self) -> None:
        user = self._random.choice(USERS)
        count = self._random.choice((0, 0, 1, 2, 3))
        may_listen = tuple(self._random.sample(PATTERNS, count))
        target = "/events/sse"
        if self._random.random() < 0.7:
            spelling = self._random.choice(SPELLINGS)
            target += "/" + spelling(self._random.choice([user, user, self._random.choice(USERS)]))
        if self._random.random() < 0.6:
            names = self._random.sample([*CHANNELS, "system-events"], self._random.randint(1, 3))
            target += "?channels=" + ",".join(names)
        self._connect(user, may_listen, target, "")

    def _reopen(self, client: Client) -> None:
        """Come back as the same or another user, with the last event id."""
        client.read()
        self._close(client)
        user, may_listen = client.user, tuple(client.may_listen)
        if self._random.random() < 0.5:
            user = self._random.choice(USERS)
        names = self._random.sample(CHANNELS, 2)
        self._connect(user, may_listen, f"/events/sse?channels={','.join(names)}", client.last_id)
        self._connect(user, may_listen, "/events/sse", client.last_id)

    def _connect(
        self, user: str, may_listen: tuple[str, ...], target: str, last_event_id: str
    ) -> None:
        fields = [
            f"GET {target} HTTP/1.1",
            "Host: node",
            f"Authorization: Bearer {self._token(user, may_listen)}",
        ]
        position = parse_position(last_event_id) if last_event_id else None
        if position is not None and self._node.history.contains(position):
            fields.append(f"Last-Event-ID: {last_event_id}")
        request = parse_head("\r\n".join([*fields, "", ""]).encode())
        answer = self._answer(request)
        if isinstance(answer, RequestError):
            assert answer.status in {400, 403, 404}, answer
            self.rejected += 1
            return
        assert isinstance(answer, StreamPlan)
        transport = FakeTransport()
        answer.open(transport, ())
        self.opened += 1
        client = Client(user, list(may_listen), transport)
        self.clients.append(client)
        self.deliveries += client.read()

    def _answer(self, request: Request) -> object:
        try:
            answer = self._router.find(request).handler(request)
        except RequestError as error:
            return error
        return answer

    def _token(self, user: str, may_listen: tuple[str, ...]) -> str:
        key = user, may_listen
        if key not in self._tokens:
            self._tokens[key] = signer("HS256").token(
                user, expires_in_s=3600, channels=list(may_listen)
            )
        return self._tokens[key]

    def _event(self) -> list[bytes]:
        self._position += 1
        is_user = self._random.random() < 0.7
        name = self._random.choice(USERS if is_user else [*CHANNELS, "system-events"])
        data = json.dumps({"to": f"{'user' if is_user else 'channel'}={name}"}).encode()
        payload = encode_envelope(name, "t", data, broadcast=not is_user)
        stored = insert_id(payload, format_position(self._position), b"log")
        return [b"message", b"user-events" if is_user else name.encode(), stored]

    def _publish(self, events: list[list[bytes]]) -> None:
        self._node.fanout.deliver(events)

    def _close(self, client: Client) -> None:
        self.deliveries += client.read()
        self.clients.remove(client)
        client.transport.lose()
        client.transport.dispose()


@pytest.mark.parametrize("seed", range(4))
async def test_no_event_reaches_a_stream_without_the_right(
    make_node: Callable[..., Node], no_redis: RedisCommands, tmp_path: Path, seed: int
) -> None:
    (tmp_path / "secret").write_bytes(SECRET)
    world = World(make_node(), no_redis, tmp_path / "secret", seed)
    while world.deliveries < DELIVERIES // 4:
        world.step()
    assert world.opened > 50
    assert world.rejected > 50
    addresses = {address for client in world.clients for address in client.heard}
    assert len(addresses) > len(USERS), "users and channels were heard"
    for client in list(world.clients):
        world._close(client)

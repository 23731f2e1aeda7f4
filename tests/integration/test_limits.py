"""What one client can take of a real node: addresses, rates, streams, memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from tests.support.stream_client import WAIT_S

if TYPE_CHECKING:
    from bench.harness import NodeProcess, RedisProcess
    from tests.support.nodes import StartNode

pytestmark = pytest.mark.integration

# Loopback has 127.0.0.0/8: clients from different addresses of it.
TRUSTED, UNTRUSTED = "127.0.0.1", "127.0.0.2"


def client_from(
    node: NodeProcess, address: str = TRUSTED, headers: dict[str, str] | None = None
) -> httpx.Client:
    """Return an HTTP client that connects from an address of loopback."""
    transport = httpx.HTTPTransport(local_address=address)
    return httpx.Client(base_url=node.url, timeout=WAIT_S, transport=transport, headers=headers)


# Proxies


def test_a_user_header_counts_from_a_trusted_peer_only(
    redis: RedisProcess, start_node: StartNode
) -> None:
    node = start_node("--auth", "proxy", redis=redis)
    ann = {"X-Forwarded-User": "ann"}
    with client_from(node, TRUSTED, ann) as trusted, client_from(node, UNTRUSTED, ann) as spoofer:
        assert trusted.get("/accounts").status_code == 200
        refused = spoofer.get("/accounts")
        assert refused.status_code == 403
        assert refused.json()["detail"] == "X-Forwarded-User: not accepted from this address"
        for path in ("/events/sse", "/events/sse/ann"):
            assert spoofer.get(path).status_code == 403
    with client_from(node, UNTRUSTED) as anonymous:
        assert anonymous.get("/accounts").status_code == 401


def test_another_peer_is_trusted_when_it_is_named(
    redis: RedisProcess, start_node: StartNode
) -> None:
    node = start_node("--auth", "proxy", "--forwarded-allow-ips", "127.0.0.2/31", redis=redis)
    ann = {"X-Forwarded-User": "ann"}
    with client_from(node, UNTRUSTED, ann) as trusted, client_from(node, TRUSTED, ann) as spoofer:
        assert trusted.get("/accounts").status_code == 200
        assert spoofer.get("/accounts").status_code == 403

"""Messages in queues, their content, and its signatures."""

import json
from datetime import UTC, datetime
from time import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from sse_node.webhooks.message import decode_message, encode_message
from sse_node.webhooks.queue import Claim, Job
from sse_node.webhooks.secrets import new_secret
from sse_node.webhooks.signing import signed_headers

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner)
)


@given(JSON)
def test_data_is_passed_through(data: object) -> None:
    raw = json.dumps(data).encode()
    message = decode_message(encode_message("1763900000123-4", "order.paid", raw))
    assert (message.id, message.event_type, bytes(message.data)) == (
        "1763900000123-4",
        "order.paid",
        raw,
    )
    content = message.content("ann")
    assert raw in content
    assert json.loads(content) == {
        "type": "order.paid",
        "timestamp": "2025-11-23T12:13:20.123Z",
        "userId": "ann",
        "data": data,
    }


@pytest.mark.parametrize("event_id", ["0-0", "18446744073709551615-0", "1763900000123-test-0a"])
def test_every_id_has_a_time(event_id: str) -> None:
    content = decode_message(encode_message(event_id, "t", b"1")).content("ann")
    assert datetime.fromisoformat(json.loads(content)["timestamp"]).tzinfo == UTC


def job(*secrets: tuple[str, int]) -> Job:
    message = decode_message(encode_message("1-1", "t", b'"\xc3\xa5"'))
    return Job(Claim("wh_1", "1"), message, "ann", "https://a.example/", secrets, 0, 0)


def test_every_secret_that_is_good_signs() -> None:
    new, old, ended = new_secret(), new_secret(), new_secret()
    now_s = time()
    content = job().message.content("ann")
    both = signed_headers(job((new, 0), (old, int(now_s * 1000) + 1000)), content, now_s)
    assert msgspec.json.decode(content) == Webhook(new).verify(content, both)
    Webhook(old).verify(content, both)
    one = signed_headers(job((new, 0), (ended, int(now_s * 1000) - 1000)), content, now_s)
    Webhook(new).verify(content, one)
    with pytest.raises(WebhookVerificationError):
        Webhook(ended).verify(content, one)

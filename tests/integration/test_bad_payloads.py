"""What other programs PUBLISH: what no event can be made of is counted and touches nothing."""

from __future__ import annotations

import re
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.support.nodes import read_metrics
from tests.support.stream_client import StreamClient

if TYPE_CHECKING:
    import httpx
    from redis import Redis

    from bench.harness import NodeProcess

pytestmark = pytest.mark.integration

KIB = 1024
DEPTH = 100_000

# (id, reason, payload); USER stands for the user of the test's stream.
BAD = [
    ("empty", "not-json", b""),
    ("text", "not-json", b"nonsense"),
    ("cut-off", "not-json", b'{"userId":"USER","eventType":"t","data":{'),
    ("two-values", "not-json", b'{"userId":"USER","eventType":"t","data":1}{}'),
    ("nan", "not-json", b'{"userId":"USER","eventType":"t","data":NaN}'),
    ("infinity-inside", "not-json", b'{"userId":"USER","eventType":"t","data":{"a":[-Infinity]}}'),
    ("single-quotes", "not-json", b"{'userId':'USER','eventType':'t','data':1}"),
    ("byte-order-mark", "not-json", b'\xef\xbb\xbf{"userId":"USER","eventType":"t","data":1}'),
    ("nul", "not-json", b'{"userId":"USER","eventType":"t","data":1}\0'),
    ("line-break-in-text", "not-json", b'{"userId":"USER","eventType":"t","data":"a\n\ndata: b"}'),
    ("latin-1", "not-utf8", b'{"userId":"USER","eventType":"t","data":"\xe5"}'),
    ("surrogate-bytes", "not-utf8", b'{"userId":"USER","eventType":"t","data":"\xed\xa0\x80"}'),
    ("overlong", "not-utf8", b'{"userId":"USER","eventType":"t","data":"\xc0\xaf"}'),
    ("utf-16", "not-utf8", '{"userId":"USER"}'.encode("utf-16")),
    ("array", "bad-field", b"[]"),
    ("number", "bad-field", b"1"),
    ("no-user", "bad-field", b'{"eventType":"t","data":1}'),
    ("no-event-type", "bad-field", b'{"userId":"USER","data":1}'),
    ("no-data", "bad-field", b'{"userId":"USER","eventType":"t"}'),
    ("user-float", "bad-field", b'{"userId":1.0,"eventType":"t","data":1}'),
    ("user-bool", "bad-field", b'{"userId":true,"eventType":"t","data":1}'),
    ("user-null", "bad-field", b'{"userId":null,"eventType":"t","data":1}'),
    ("user-list", "bad-field", b'{"userId":["USER"],"eventType":"t","data":1}'),
    ("user-object", "bad-field", b'{"userId":{"id":"USER"},"eventType":"t","data":1}'),
    ("user-empty", "bad-field", b'{"userId":"","eventType":"t","data":1}'),
    ("user-too-long", "bad-field", b'{"userId":"%b","eventType":"t","data":1}' % (b"x" * 256)),
    ("user-blank", "bad-field", b'{"userId":"USER ","eventType":"t","data":1}'),
    ("user-line-break", "bad-field", b'{"userId":"USER\\n","eventType":"t","data":1}'),
    ("user-digits", "bad-field", '{"userId":"\u0661","eventType":"t","data":1}'.encode()),
    ("type-number", "bad-field", b'{"userId":"USER","eventType":1,"data":1}'),
    ("type-empty", "bad-field", b'{"userId":"USER","eventType":"","data":1}'),
    ("type-open", "bad-field", b'{"userId":"USER","eventType":"open","data":1}'),
    ("type-error", "bad-field", b'{"userId":"USER","eventType":"error","data":1}'),
    ("type-message", "bad-field", b'{"userId":"USER","eventType":"message","data":1}'),
    ("type-reserved", "bad-field", b'{"userId":"USER","eventType":"sse.reset","data":1}'),
    ("type-field", "bad-field", b'{"userId":"USER","eventType":"t\\ndata: x","data":1}'),
    ("type-too-long", "bad-field", b'{"userId":"USER","eventType":"%b","data":1}' % (b"t" * 65)),
    (
        "too-large",
        "too-large",
        b'{"userId":"USER","eventType":"t","data":"%b"}' % (b"x" * 256 * KIB),
    ),
    ("far-too-large", "too-large", b"x" * 16 * KIB * KIB),
    (
        "too-deep",
        "too-deep",
        b'{"userId":"USER","eventType":"t","data":%b1%b}' % (b"[" * DEPTH, b"]" * DEPTH),
    ),
    (
        "too-deep-objects",
        "too-deep",
        b'{"userId":"USER","eventType":"t","data":%b' % (b'{"":' * (DEPTH // 2)),
    ),
    ("too-deep-outside", "too-deep", b'{"x":%b' % (b"[" * DEPTH)),
]


def dropped(http: httpx.Client) -> Counter[str]:
    """How many payloads the node says it dropped, by reason."""
    return Counter(
        {
            reason: int(value)
            for (name, reason), value in read_metrics(http).items()
            if name == "sse_node_messages_dropped_total"
        }
    )


def publish_good(publisher: Redis, user: str, event_type: str) -> None:
    payload = f'{{"userId":"{user}","eventType":"{event_type}","data":{{}}}}'
    assert publisher.publish("user-events", payload) > 0


@pytest.mark.parametrize(
    ("reason", "payload"), [pytest.param(*case[1:], id=case[0]) for case in BAD]
)
def test_counted_and_the_next_message_is_unaffected(
    node: NodeProcess,
    http: httpx.Client,
    publisher: Redis,
    user: str,
    reason: str,
    payload: bytes,
) -> None:
    before = dropped(http)
    with StreamClient(node.url, f"/events/sse/{user}") as stream:
        stream.wait_open()
        publish_good(publisher, user, "before")
        publisher.publish("user-events", payload.replace(b"USER", user.encode()))
        publish_good(publisher, user, "after")
        stream.wait_for_type("after")
    assert [event.type for event in stream.published()] == ["before", "after"]
    assert dropped(http) - before == Counter({reason: 1})


def test_broadcast_channels_are_as_careful(
    node: NodeProcess, http: httpx.Client, publisher: Redis, user: str
) -> None:
    before = dropped(http)
    with StreamClient(node.url, f"/events/sse/{user}?channels=analytics-events") as stream:
        stream.wait_open()
        for channel in ("system-events", "analytics-events"):
            publisher.publish(channel, b"\xff")
            publisher.publish(channel, b'{"data":1}')
            publisher.publish(channel, f'{{"eventType":"t","data":"{user}"}}')
            stream.wait_for(lambda event: event.json.get("data") == user)
    assert dropped(http) - before == Counter({"not-utf8": 2, "bad-field": 2})


def test_all_at_once_are_all_counted(
    node: NodeProcess, http: httpx.Client, publisher: Redis, user: str
) -> None:
    before = dropped(http)
    with StreamClient(node.url, f"/events/sse/{user}") as stream, publisher.pipeline() as batch:
        stream.wait_open()
        for _, _, payload in BAD:
            batch.publish("user-events", payload.replace(b"USER", user.encode()))
            batch.publish("user-events", f'{{"userId":"{user}","eventType":"t","data":{{}}}}')
        batch.execute()
        for _ in BAD:
            stream.wait_for_type("t")
    assert dropped(http) - before == Counter(reason for _, reason, _ in BAD)


def test_logged_at_most_once_a_second_for_each_reason(
    node: NodeProcess, http: httpx.Client, publisher: Redis, user: str
) -> None:
    one_of_each = {reason: payload for _, reason, payload in BAD if reason != "too-large"}
    one_of_each["too-large"] = b"x" * 300 * KIB
    start, began_s = len(node.log), time.monotonic()
    before = dropped(http)
    with StreamClient(node.url, f"/events/sse/{user}") as stream:
        stream.wait_open()
        for _ in range(10):
            with publisher.pipeline(transaction=False) as batch:
                for payload in 10 * list(one_of_each.values()):
                    batch.publish("user-events", payload.replace(b"USER", user.encode()))
                batch.execute()
        publish_good(publisher, user, "last")
        stream.wait_for_type("last")
    most = time.monotonic() - began_s + 1
    assert dropped(http) - before == Counter(dict.fromkeys(one_of_each, 100))
    logged = Counter(
        match[1] for line in node.log[start:] if (match := re.search(r"dropped: ([\w-]+): ", line))
    )
    assert set(logged) <= set(one_of_each)
    assert max(logged.values(), default=0) <= most  # none: said within the second before


def test_integer_user_is_its_decimal_digits(node: NodeProcess, publisher: Redis) -> None:
    number = 90071992547409930
    with StreamClient(node.url, f"/events/sse/{number}") as stream:
        stream.wait_open()
        publisher.publish("user-events", f'{{"userId":{number},"eventType":"t","data":1}}')
        stream.wait_for_type("t")


def test_further_members_are_nobodys_business(
    node: NodeProcess, publisher: Redis, user: str
) -> None:
    with StreamClient(node.url, f"/events/sse/{user}") as stream:
        stream.wait_open()
        payload = f'{{"v":[1],"userId":"{user}","id":"order-7","eventType":"t","data":{{"a":1}}}}'
        publisher.publish("user-events", payload)
        assert stream.wait_for_type("t").frame == b'data: {"eventType":"t","a":1}\n\n'

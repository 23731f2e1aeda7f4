"""The smallest rights that a node and a publisher need: the rules of docs/redis.md, in use."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis

from bench.harness import (
    ROOT,
    NodeProcess,
    RedisProcess,
    WebhooksProcess,
    environment_without_settings,
    free_port,
)
from sse_node.redis.event_log import PUBLISH
from tests.support.certificates import Certificates
from tests.support.nodes import client_of, read_metrics, wait_until
from tests.support.receiver import Receiver, answer
from tests.support.stream_client import StreamClient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

pytestmark = pytest.mark.integration

# What a node does without when it is refused.
OPTIONAL = ("client|setname", "info", "config|get", "command|getkeys", "xinfo|stream")

PASSWORD = "s3cr3t"
DOCUMENT = (ROOT / "docs" / "redis.md").read_text("utf-8")
# Of the tests themselves, as administrators; PING is the harness's too.
OF_TESTS = {"acl", "client", "command", "config", "info", "hello", "script", "select", "xtrim"}


def rule_of(name: str) -> list[str]:
    """Return the words of a documented rule, with the password of the tests."""
    found = re.search(rf"<!-- {name}:begin -->\n```\n(.*?)```", DOCUMENT, re.DOTALL)
    assert found is not None
    words = found[1].split()
    assert words[:2] == ["ACL", "SETUSER"]
    return [word.replace(">PASSWORD", f">{PASSWORD}") for word in words[2:]]


@pytest.fixture
def redis() -> Iterator[RedisProcess]:
    with RedisProcess(tcp=True) as process:
        yield process


@pytest.fixture
def administrator(redis: RedisProcess) -> Iterator[Redis]:
    with Redis(unix_socket_path=str(redis.socket_path)) as client:
        yield client


def set_user(administrator: Redis, rule: list[str]) -> str:
    """Make the user of a rule; return its name."""
    execute: Any = administrator.execute_command
    assert execute("ACL", "SETUSER", *rule)
    return rule[0]


def refusals(administrator: Redis) -> list[str]:
    """Return what the server has refused."""
    log: Any = administrator.acl_log()
    return [f"{entry['username']}: {entry['object']}" for entry in log]


def use_everything(node: NodeProcess, http: httpx.Client, administrator: Redis) -> None:
    """Make a node run each of its commands, also those of an outage."""
    with StreamClient(node.url, "/events/sse/ann?channels=analytics-events") as stream:
        first = stream.wait_open().id
        account = {"name": "Harbour fund", "balance": 1, "userId": "ann"}
        for _ in range(2):  # the second time the first answer
            created = http.post("/accounts", json=account, headers={"Idempotency-Key": "a"})
            created.raise_for_status()
        path = created.headers["Location"]
        http.patch(path, json={"balance": 2, "name": "Hill fund"}).raise_for_status()
        for query in ("", "?version=1", "/events"):
            http.get(path + query).raise_for_status()
        http.get("/events?userId=ann").raise_for_status()
        assert len(http.get("/accounts?userId=ann").json()) == 1
        stream.wait_for_type("snapshots.generated")
        assert len(http.get("/snapshots?userId=ann").json()) == 1
        http.delete(path).raise_for_status()
        assert http.get("/snapshots?userId=ann").json() == []
        for event in ({"userId": "ann"}, {"channel": "system-events"}):
            http.post("/events", json={"eventType": "t", "data": 1, **event}).raise_for_status()
        analytics = {"channel": "analytics-events", "eventType": "last", "data": 1}
        http.post("/events", json=analytics).raise_for_status()
        stream.wait_for_type("last")
        use_webhooks(http, administrator)
        revocation = {"user": "eve", "until": time.time() + 1}
        http.post("/revocations", json=revocation).raise_for_status()
    # A replay that memory does not have, and one that nobody has.
    with StreamClient(node.url, "/events/sse/ann", {"Last-Event-ID": first}) as stream:
        stream.wait_for_type("snapshots.generated")
    with StreamClient(node.url, "/events/sse/ann", {"Last-Event-ID": "1-1"}) as stream:
        stream.wait_open()
    # A log that has lost what this node has seen: it marks a rollback.
    administrator.xtrim("sse:log", maxlen=0, approximate=False)
    resets = ("sse_node_redis_reconnects_total", "subscriber")
    wait_until(lambda: read_metrics(http)[resets] > 0, "the loss of the log is found")
    node.wait_ready()


def use_webhooks(http: httpx.Client, administrator: Redis) -> None:
    """Make a node run each command of the routes of webhooks."""
    webhook = {"url": "https://8.8.8.8/", "events": ["t"], "userId": "ann"}
    for _ in range(2):  # of the log, one of them begins to read
        created = http.post("/webhooks", json=webhook)
        created.raise_for_status()
    path = created.headers["Location"]
    http.patch(path, json={"rotateSecret": True, "events": ["u"]}).raise_for_status()
    http.post(f"{path}/test").raise_for_status()
    key = path.replace("/webhooks/", "sse:webhook-dead-letters:")
    administrator.rpush(key, '{"failedAt":"","message":{"id":"1-1","eventType":"t","data":1}}')
    assert http.post(f"{path}/dead-letters/replay").json() == {"replayed": 1}
    assert len(http.get("/webhooks?userId=ann").json()) == 2
    assert http.get(f"{path}/deliveries").json() == []
    http.patch(path, json={"enabled": False}).raise_for_status()
    http.delete(path).raise_for_status()


def test_the_smallest_rule_of_a_node(redis: RedisProcess, administrator: Redis) -> None:
    rule = rule_of("acl")
    user = set_user(administrator, rule)
    url = redis.url.replace("://", f"://{user}:{PASSWORD}@")
    administrator.config_resetstat()
    flags = ("--audit-interval", "0.2", "--history", "1")
    with NodeProcess("--redis-url", url, *flags) as node, client_of(node) as http:
        node.wait_ready()
        use_everything(node, http, administrator)
        assert set(refusals(administrator)) <= {f"{user}: {each}" for each in OPTIONAL}
        assert not [line for line in node.log if "NOPERM" in line]
    statistics: dict[str, Any] = administrator.info("commandstats")
    used = {name.removeprefix("cmdstat_") for name in statistics}
    documented = {word[1:] for word in rule if word.startswith("+")}
    of_tests = {name for name in used if name.partition("|")[0] in OF_TESTS}
    assert used - of_tests - {"auth", *OPTIONAL} == documented


def test_the_smallest_rule_of_the_process_of_webhooks(
    redis: RedisProcess, administrator: Redis
) -> None:
    rule = rule_of("acl-webhooks")
    user = set_user(administrator, rule)
    url = redis.url.replace("://", f"://{user}:{PASSWORD}@")
    own = ("--webhook-allow-http", "yes", "--webhook-allow-hosts", "127.0.0.1")
    with (
        NodeProcess("--redis-url", redis.url, *own) as node,
        client_of(node) as http,
        WebhooksProcess("--redis-url", url, *own, "--webhook-retry-time", "1") as process,
        Receiver() as receiver,
    ):
        node.wait_ready()
        receiver.answers["/bad"] = lambda received: answer("500 No")
        receiver.answers["/gone"] = lambda received: answer("410 Gone")
        for path in ("/good", "/bad", "/gone"):
            content = {"url": receiver.url(path), "events": ["t"], "userId": "ann"}
            http.post("/webhooks", json=content).raise_for_status()
        publish = partial(http.post, "/events", json={"userId": "ann", "eventType": "t", "data": 1})
        publish().raise_for_status()
        wait_until(
            lambda: process.metric("sse_node_webhook_messages_total", outcome="dead") == 1, "dead"
        )
        # The one of /gone is disabled, and counts too.
        wait_until(lambda: process.metric("sse_node_webhooks") == 3, "metrics of what Redis has")
        process.suspend()  # until the log has lost what it has not read
        publish().raise_for_status()
        publish().raise_for_status()
        administrator.xtrim("sse:log", maxlen=1, approximate=False)
        process.resume()
        receiver.wait_for_type("/good", "webhook.gap")
        assert process.terminate(20) == 0
        assert not [line for line in process.log if "NOPERM" in line]
    assert set(refusals(administrator)) <= {f"{user}: {each}" for each in OPTIONAL}
    statistics: dict[str, Any] = administrator.info("commandstats")
    used = {name.removeprefix("cmdstat_") for name in statistics}
    assert {word[1:] for word in rule if word.startswith("+")} <= used


def test_the_smallest_rule_of_a_verifier(redis: RedisProcess, administrator: Redis) -> None:
    user = set_user(administrator, rule_of("acl-verifier"))
    account: Any = {"id": "1", "name": '"n"', "balance": "1", "userId": '"u"', "createdAt": '""'}
    administrator.hset("sse:account:1", mapping=account)
    changes = ",".join(f'"{name}":{value}' for name, value in account.items())
    entry = f'{{"eventType":"account.created","at":null,"changes":{{{changes}}}}}'
    administrator.rpush("sse:account-history:1", entry)
    url = redis.url.replace("://", f"://{user}:{PASSWORD}@")
    found = subprocess.run(
        [sys.executable, "-m", "sse_node", "verify-accounts", "--redis-url", url],
        cwd=ROOT, env=environment_without_settings(), capture_output=True, text=True, timeout=20,
        check=False,
    )  # fmt: skip
    assert found.stdout == "1 compared, 0 different, 0 without a history\n"
    assert set(refusals(administrator)) <= {f"{user}: {each}" for each in OPTIONAL}


def test_names_are_set_where_that_is_allowed(redis: RedisProcess, administrator: Redis) -> None:
    user = set_user(administrator, [*rule_of("acl"), *(f"+{command}" for command in OPTIONAL)])
    url = redis.url.replace("://", f"://{user}:{PASSWORD}@")
    with NodeProcess("--redis-url", url, "--server-id", "node-1") as node:
        node.wait_ready()
        names = {client["name"] for client in administrator.client_list()}
        assert names >= {f"sse-node:node-1:{kind}" for kind in ("commands", "jobs", "subscriber")}
        assert refusals(administrator) == []


def test_a_database_needs_select(redis: RedisProcess, administrator: Redis) -> None:
    user = set_user(administrator, [*in_namespace(rule_of("acl"), "db3:"), "+select"])
    url = redis.url.replace("://", f"://{user}:{PASSWORD}@") + "/3"
    expect_serving(url)
    assert list(administrator.info("keyspace")) == ["db3"]


def test_a_namespace_has_rights_of_its_own(redis: RedisProcess, administrator: Redis) -> None:
    for name in ("blue", "green"):
        rule = in_namespace(rule_of("acl"), f"{name}:")
        set_user(administrator, [name, *rule[1:]])
    url = redis.url.replace("://", f"://blue:{PASSWORD}@")
    expect_serving(url, "--namespace", "blue")
    assert set(refusals(administrator)) <= {f"blue: {each}" for each in OPTIONAL}
    with NodeProcess("--redis-url", url, "--namespace", "green") as node:
        node.wait_for_log("subscriber: Redis is away: Redis refused: NOPERM")
        node.wait_for_log("commands: Redis refused: .*permission")


def in_namespace(rule: list[str], prefix: str) -> list[str]:
    """Return a rule for the keys and channels of a namespace."""
    return [f"{word[0]}{prefix}{word[1:]}" if word[0] in "~&" else word for word in rule]


def expect_serving(url: str, *flags: str) -> None:
    """A node at this URL creates, tells and snapshots."""
    with NodeProcess("--redis-url", url, *flags) as node, client_of(node) as http:
        node.wait_ready()
        with StreamClient(node.url) as stream:
            stream.wait_open()
            http.post("/accounts", json={"name": "n", "balance": 1}).raise_for_status()
            stream.wait_for_type("snapshots.generated")


def test_a_server_without_client() -> None:
    with RedisProcess(args=("--rename-command", "CLIENT", "")) as redis:
        expect_serving(redis.url)


def test_what_is_refused_is_said(redis: RedisProcess, administrator: Redis) -> None:
    user = set_user(administrator, [*rule_of("acl"), "resetchannels", "&sse:probe:*"])
    url = redis.url.replace("://", f"://{user}:{PASSWORD}@")
    with NodeProcess("--redis-url", url) as node, client_of(node) as http:
        node.wait_for_log("subscriber: Redis is away: Redis refused: NOPERM")
        assert http.get("/health/ready").status_code == 503


def test_the_smallest_rule_of_a_publisher(redis: RedisProcess, administrator: Redis) -> None:
    user = set_user(administrator, rule_of("acl-publisher"))
    url = redis.url.replace("://", f"://{user}:{PASSWORD}@")
    command = (sys.executable, "-m", "sse_node", "publish", "ann", "t", "1", "--redis-url", url)
    ids = {
        subprocess.run(
            [*command, "--idempotency-key", "key"],
            cwd=ROOT, env=environment_without_settings(), check=True, capture_output=True,
        ).stdout
        for _ in range(2)
    }  # fmt: skip
    assert len(ids) == 1
    with Redis.from_url(url) as publisher:
        text = subprocess.run(
            [sys.executable, "-m", "sse_node", "script"], cwd=ROOT, check=True, capture_output=True
        ).stdout.decode()
        digest: Any = publisher.script_load(text)
        event = '{"userId":"ann","eventType":"t","data":1}'
        assert publisher.evalsha(digest, 1, "sse:log", 1000, 0, 0, "user-events", event)
    assert set(refusals(administrator)) <= {f"{user}: client|setname", f"{user}: client|setinfo"}


def test_a_publisher_that_may_not_look_for_what_to_drop_publishes_all_the_same(
    redis: RedisProcess, administrator: Redis
) -> None:
    user = set_user(administrator, [*rule_of("acl-publisher"), "-xrange"])
    with Redis.from_url(redis.url.replace("://", f"://{user}:{PASSWORD}@")) as publisher:
        publish = publisher.register_script(PUBLISH.text)
        event = '{"userId":"ann","eventType":"t","data":"%s"}' % ("x" * 200_000)
        for _ in range(40):
            assert publish(keys=["sse:log"], args=["1000:4194304", 0, 0, "user-events", event])
    assert administrator.xlen("sse:log") == 40


def test_rules_over_tls(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    certificates.make_authority("ca")
    certificates.sign("server", "ca")
    port = free_port()
    args = [
        *("--tls-port", str(port), "--tls-auth-clients", "no"),
        *("--tls-cert-file", certificates.path("server.crt")),
        *("--tls-key-file", certificates.path("server.key")),
        *("--tls-ca-cert-file", certificates.path("ca.crt")),
    ]
    with (
        RedisProcess(args=args) as redis,
        Redis(unix_socket_path=str(redis.socket_path)) as administrator,
    ):
        user = set_user(administrator, rule_of("acl"))
        options = f"ssl_ca_certs={certificates.path('ca.crt')}"
        expect_serving(f"rediss://{user}:{PASSWORD}@127.0.0.1:{port}?{options}")
        assert set(refusals(administrator)) <= {f"{user}: {each}" for each in OPTIONAL}

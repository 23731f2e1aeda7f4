"""Sentinels watch the master: nodes follow them, and never a master of the past."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

import pytest

from bench.harness import (
    ROOT,
    NodeProcess,
    RedisProcess,
    SentinelTrio,
    environment_without_settings,
    valkey_binary,
)
from bench.harness.sentinel import PATIENT, SentinelProcess
from tests.integration.test_redis_acl import rule_of
from tests.support.certificates import Certificates
from tests.support.nodes import client_of, read_metrics, wait_until
from tests.support.stream_client import StreamClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import httpx

    from tests.support.nodes import StartNode

pytestmark = pytest.mark.integration


@dataclass(frozen=True)
class Deaf:
    """The address of a node that gets no messages of the sentinels."""

    nodes_url: str


# After the sentinels agree; what is measured is in README.
FOLLOWS_WITHIN_S = 3.0
PASSWORD, SENTINEL_PASSWORD = "s3cr3t-of-redis", "s3cr3t-of-sentinels"


@pytest.fixture(params=["redis-server", "valkey"])
def trio(request: pytest.FixtureRequest) -> Iterator[SentinelTrio]:
    """Three sentinels, a master and two replicas, of Debian's Redis and of Valkey."""
    binary = valkey_binary() if request.param == "valkey" else request.param
    with SentinelTrio(binary) as trio:
        yield trio


def kill(trio: SentinelTrio) -> None:
    trio.master.kill()


def suspend(trio: SentinelTrio) -> None:
    trio.master.suspend()


def command(trio: SentinelTrio) -> None:
    trio.fail_over()


def publish_until_accepted(http: httpx.Client, user: str, number: int) -> str:
    """Publish as a careful client does: the same key until it is answered 202; return the id."""
    event = {"userId": user, "eventType": "tick", "data": {"number": number}}
    key = {"Idempotency-Key": f"{user} {number}"}
    ids: list[str] = []

    def is_accepted() -> bool:
        answer = http.post("/events", json=event, headers=key)
        if answer.status_code == 202:
            ids.extend(answer.json()["ids"])
        else:
            assert answer.status_code == 503
        return bool(ids)

    wait_until(is_accepted, "the event is accepted")
    return ids[0]


def wait_for_number(stream: StreamClient, number: int) -> float:
    """When the event with this number came."""
    return stream.wait_for(lambda event: event.json.get("number") == number).received_s


def numbers_of(stream: StreamClient) -> list[int]:
    return [event.json["number"] for event in stream.published() if event.type == "tick"]


def names_of(stream: StreamClient) -> list[str]:
    return [event.name for event in stream.events]


def wait_replicated(trio: SentinelTrio) -> None:
    """Wait until both replicas have what the master has."""
    assert trio.ask(trio.master, "WAIT", 2, 5000) == 2


def failovers(http: httpx.Client) -> float:
    """How often the node has seen the sentinels name another master."""
    return read_metrics(http)["sse_node_redis_failovers_total", ""]


def url_of_the_deaf(trio: SentinelTrio) -> str:
    """Return an address with which no sentinel sends messages: only asking is allowed."""
    for sentinel in trio.sentinels:
        sentinel.ask("ACL", "SETUSER", "deaf", "on", ">x", "resetchannels",
                     "+ping", "+sentinel|master", "+sentinel|get-master-addr-by-name")  # fmt: skip
    return f"{trio.url}?sentinel_username=deaf&sentinel_password=x"


# Failover


@pytest.mark.parametrize("fault", [kill, suspend, command])
def test_everything_follows_a_failover(
    start_node: StartNode, trio: SentinelTrio, fault: Callable[[SentinelTrio], None], user: str
) -> None:
    node = start_node(redis=trio)
    old = trio.master
    with client_of(node) as http, StreamClient(node.url, f"/events/sse/{user}") as stream:
        stream.wait_open()
        publish_until_accepted(http, user, 0)
        wait_for_number(stream, 0)
        wait_replicated(trio)
        fault(trio)
        new = trio.wait_for_new_master(old)
        agreed_s = time.monotonic()
        wait_until(lambda: failovers(http) == 1, "the node has heard of it")
        event_id = publish_until_accepted(http, user, 1)
        assert wait_for_number(stream, 1) - agreed_s < FOLLOWS_WITHIN_S
        assert trio.ask(new, "XRANGE", "sse:log", event_id, event_id)
        account = {"name": "Harbour fund", "balance": 1, "userId": user}
        http.post("/accounts", json=account).raise_for_status()
        stream.wait_for_type("snapshots.generated")  # by the jobs' own connection
        node.wait_ready()
        assert failovers(http) == 1
        assert numbers_of(stream) == [0, 1]
        assert "sse.reset" not in names_of(stream)  # the new master had everything
    assert not [line for line in node.log if "Traceback" in line]


def test_what_the_new_master_lost_is_told(
    start_node: StartNode, trio: SentinelTrio, user: str
) -> None:
    nodes = [start_node(redis=trio, server_id=f"node-{number}") for number in range(2)]
    old = trio.master
    with (
        client_of(nodes[0]) as http,
        StreamClient(nodes[0].url, f"/events/sse/{user}") as stream,
        StreamClient(nodes[1].url, f"/events/sse/{user}") as other,
    ):
        for each in (stream, other):
            each.wait_open()
        publish_until_accepted(http, user, 0)
        wait_replicated(trio)
        for replica in trio.replicas:  # they cannot follow any more, and do not know it yet
            trio.ask(replica, "CONFIG", "SET", "masterauth", "wrong")
        trio.ask(old, "CLIENT", "KILL", "TYPE", "replica")
        lost = publish_until_accepted(http, user, 1)
        for each in (stream, other):
            wait_for_number(each, 1)
        old.kill()
        new = trio.wait_for_new_master(old)
        for each in (stream, other):
            reset = each.wait_for(lambda event: event.name == "sse.reset")
            assert reset.json == {"reason": "rollback"}
        assert not trio.ask(new, "XRANGE", "sse:log", lost, lost)
        publish_until_accepted(http, user, 2)
        for each in (stream, other):
            wait_for_number(each, 2)
            assert numbers_of(each) == [0, 1, 2]
        # A client that was away comes back with the id that is gone.
        target, last_seen = f"/events/sse/{user}", {"Last-Event-ID": lost}
        with StreamClient(nodes[1].url, target, last_seen) as resumed:
            resumed.wait_open()
            assert names_of(resumed)[0] == "sse.reset"


# A master of the past


@pytest.mark.parametrize("is_deaf", [False, True])
def test_a_stopped_master_that_continues_gets_no_write(
    start_node: StartNode, user: str, is_deaf: bool
) -> None:
    with SentinelTrio(periods=PATIENT) as trio:
        # Nothing of the node meets the silence: no probe, no request.
        redis = Deaf(url_of_the_deaf(trio)) if is_deaf else trio
        node = start_node("--audit-interval", "300", redis=redis)
        old = trio.master
        with client_of(node) as http, StreamClient(node.url, f"/events/sse/{user}") as stream:
            stream.wait_open()
            publish_until_accepted(http, user, 0)
            wait_replicated(trio)
            length = trio.ask(old, "XLEN", "sse:log")
            old.suspend()
            new = trio.wait_for_new_master(old)
            old.resume()
            assert trio.ask(old, "ROLE")[0] == b"master"
            for number in range(1, 21):
                event_id = publish_until_accepted(http, user, number)
                assert trio.ask(new, "XRANGE", "sse:log", event_id, event_id)
            assert trio.ask(old, "ROLE")[0] == b"master"  # it still believes it
            assert trio.ask(old, "XLEN", "sse:log") == length
            wait_for_number(stream, 20)
            assert numbers_of(stream) == list(range(21))
            assert "sse.reset" not in names_of(stream)
            # A node that starts now does not find it either.
            another = start_node(redis=redis, server_id="node-2")
            with client_of(another) as other_http:
                event_id = publish_until_accepted(other_http, user, 21)
            assert trio.ask(new, "XRANGE", "sse:log", event_id, event_id)
            wait_for_number(stream, 21)


def test_a_former_master_that_lives_on_is_left(start_node: StartNode, user: str) -> None:
    """In a failover by command nothing breaks; a node that hears no message finds it by asking."""
    with SentinelTrio(periods=PATIENT) as trio:
        node = start_node(redis=Deaf(url_of_the_deaf(trio)))
        old = trio.master
        with client_of(node) as http, StreamClient(node.url, f"/events/sse/{user}") as stream:
            stream.wait_open()
            trio.fail_over()
            new = trio.wait_for_new_master(old)
            numbers = count()
            accepted = []
            while not failovers(http):
                accepted.append(publish_until_accepted(http, user, next(numbers)))
            assert trio.ask(old, "ROLE")[0] == b"master"
            if not all(trio.ask(new, "XRANGE", "sse:log", each, each) for each in accepted):
                stream.wait_for(lambda event: event.name == "sse.reset")
            number = next(numbers)
            publish_until_accepted(http, user, number)
            wait_for_number(stream, number)


def test_every_sentinel_is_listened_to(trio: SentinelTrio, start_node: StartNode) -> None:
    start_node(redis=trio, server_id="listener")

    def is_listened_to(sentinel: SentinelProcess) -> bool:
        clients: str = sentinel.ask("CLIENT", "LIST", "TYPE", "pubsub")
        return " name=sse-node:listener:sentinel:127.0.0.1:" in clients

    wait_until(lambda: all(map(is_listened_to, trio.sentinels)), "a subscription to each of them")


def test_nothing_waits_in_the_socket_of_a_master_that_has_stopped(
    trio: SentinelTrio, start_node: StartNode, user: str
) -> None:
    """It would be carried out when the master goes on, as one of the past."""
    node = start_node("--audit-interval", "300", redis=trio)
    with client_of(node) as http:
        publish_until_accepted(http, user, 0)
        old = trio.master
        old.suspend()
        time.sleep(0.6)  # after less a command is sent without asking whether it answers
        publish_until_accepted(http, user, 1)
        trio.wait_for_new_master(old)
        old.resume()
        assert "LATE" not in str(trio.ask(old, "INFO", "errorstats"))


def test_a_replica_that_one_sentinel_names_is_refused() -> None:
    with SentinelTrio() as trio, RedisProcess(tcp=True) as replica, SentinelTrio() as other:
        # A sentinel that was told of a replica as if it were a master, and has not looked yet.
        trio.ask(replica, "REPLICAOF", "127.0.0.1", trio.master.port)
        sentinel = other.sentinels[0]
        sentinel.ask("SENTINEL", "MONITOR", "wrong", "127.0.0.1", replica.port, 1)
        url = f"redis+sentinel://127.0.0.1:{sentinel.port}/wrong"
        with NodeProcess("--redis-url", url) as node:
            node.wait_for_log(f"127.0.0.1:{replica.port} is no master yet, or not any more")


# Sentinels that are away


def test_sentinels_may_be_away(start_node: StartNode, user: str) -> None:
    with SentinelTrio() as trio:
        node = start_node(redis=trio)
        with client_of(node) as http, StreamClient(node.url, f"/events/sse/{user}") as stream:
            stream.wait_open()
            for number, sentinel in enumerate(trio.sentinels):
                sentinel.kill()
                publish_until_accepted(http, user, number)
                if number < 2:  # one that is left names the master
                    start_node(redis=trio, server_id=f"node-{number + 2}")
            wait_for_number(stream, 2)
            node.wait_for_log("no sentinel names the master of main: .*Connection refused")
            wait_until(lambda: http.get("/health/ready").status_code == 200, "the node is ready")
        with NodeProcess("--redis-url", trio.url) as late:
            late.wait_for_log("subscriber: Redis is away: no sentinel names the master of main")
            trio.sentinels[1].start()
            late.wait_ready()


def test_service_that_no_sentinel_knows() -> None:
    with SentinelTrio() as trio, NodeProcess("--redis-url", f"{trio.url}x") as node:
        node.wait_for_log("no sentinel names the master of mainx: .*No such master")
        with client_of(node) as http:
            assert http.get("/health/ready").status_code == 503


# Passwords, rights, TLS


def expect_events_and_jobs(node: NodeProcess, user: str) -> None:
    with client_of(node) as http, StreamClient(node.url, f"/events/sse/{user}") as stream:
        stream.wait_open()
        account = {"name": "Harbour fund", "balance": 1, "userId": user}
        http.post("/accounts", json=account).raise_for_status()
        stream.wait_for_type("snapshots.generated")


def test_passwords_and_rights(user: str) -> None:
    with SentinelTrio(password=PASSWORD, sentinel_password=SENTINEL_PASSWORD) as trio:
        name, *rule = rule_of("acl")
        for server in trio.servers:
            trio.ask(server, "ACL", "SETUSER", name, *rule, f">{PASSWORD}", "+role")
        own = f"{name}:{PASSWORD}@"
        query = f"?sentinel_password={SENTINEL_PASSWORD}"
        flags = ("--log-level", "debug", "--redis-url")
        with NodeProcess(*flags, f"redis+sentinel://{own}{trio.places}{query}") as node:
            node.wait_ready()
            old = trio.master
            expect_events_and_jobs(node, user)
            old.kill()
            trio.wait_for_new_master(old)
            node.wait_ready()
            expect_events_and_jobs(node, user)
            log = list(node.log)
        with NodeProcess(*flags, f"redis+sentinel://{own}{trio.places}{query}x") as node:
            node.wait_for_log("no sentinel names the master of main: .*WRONGPASS")
            log += node.log
        with NodeProcess(*flags, f"redis+sentinel://{name}:x@{trio.places}{query}") as node:
            node.wait_for_log("the master.*WRONGPASS")
            log += node.log
    assert not [line for line in log if PASSWORD in line or SENTINEL_PASSWORD in line]


def test_tls(tmp_path: Path, user: str) -> None:
    certificates = Certificates(tmp_path)
    for authority in ("ca", "other-ca"):
        certificates.make_authority(authority)
    for name in ("server", "client"):
        certificates.sign(name, "ca")
    path = certificates.path
    tls = ["--tls-cert-file", path("server.crt"), "--tls-key-file", path("server.key")]
    tls += ["--tls-ca-cert-file", path("ca.crt"), "--tls-auth-clients", "yes"]
    own = f"ssl_certfile={path('client.crt')}&ssl_keyfile={path('client.key')}"
    with SentinelTrio(tls=tls) as trio:
        with NodeProcess("--redis-url", f"{trio.url}?ssl_ca_certs={path('ca.crt')}&{own}") as node:
            node.wait_ready()
            old = trio.master
            expect_events_and_jobs(node, user)
            old.kill()
            trio.wait_for_new_master(old)
            node.wait_ready()
            expect_events_and_jobs(node, user)
        with NodeProcess("--redis-url", f"{trio.url}?ssl_ca_certs={path('other-ca.crt')}&{own}"
                         ) as node:  # fmt: skip
            node.wait_for_log("no sentinel names the master of main: .*certificate verify failed")


# Commands


def test_publish_and_tail_follow(trio: SentinelTrio, user: str) -> None:
    env = environment_without_settings() | {"REDIS_URL": trio.url}
    program = (sys.executable, "-m", "sse_node")

    def publish(number: int) -> str:
        words = [*program, "publish", user, "tick", str(number), "--idempotency-key", f"{number}"]
        ids: list[str] = []

        def is_done() -> bool:
            done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True)
            ids.extend(done.stdout.split())
            return done.returncode == 0

        wait_until(is_done, "the event is published")
        return ids[0]

    with subprocess.Popen(
        [*program, "tail", user], cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True
    ) as tail:
        try:
            assert tail.stdout is not None
            old = trio.master
            wait_until(lambda: is_heard(trio, old), "tail listens")
            first = publish(1)
            assert tail.stdout.readline() == f"{first} tick 1\n"
            old.kill()
            new = trio.wait_for_new_master(old)
            wait_until(lambda: is_heard(trio, new), "tail listens to the new master")
            second = publish(2)
            assert tail.stdout.readline() == f"{second} tick 2\n"
        finally:
            tail.terminate()


def is_heard(trio: SentinelTrio, server: RedisProcess) -> bool:
    return bool(trio.ask(server, "PUBSUB", "NUMSUB", "user-events")[1])


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis+sentinel://h1:26379,h2:x/main", "the port"),
        ("redis+sentinel://:s3cr3t@h1,h2", "the service"),
        ("redis+cluster://:s3cr3t@h1,,h2", "the host"),
    ],
)
@pytest.mark.parametrize("words", [["serve"], ["publish", "ann", "t", "1"], ["tail", "ann"]])
def test_wrong_url_stops_the_start(url: str, said: str, words: list[str]) -> None:
    env = os.environ | environment_without_settings() | {"REDIS_URL": url}
    program = [sys.executable, "-m", "sse_node", *words]
    ended = subprocess.run(program, cwd=ROOT, env=env, capture_output=True, text=True)
    assert ended.returncode == 3
    assert said in ended.stderr
    assert "s3cr3t" not in ended.stderr

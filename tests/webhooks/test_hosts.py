"""What receivers on one host share: a number of requests, and a circuit breaker."""

import asyncio

import pytest

from sse_node.webhooks.hosts import Host, Hosts


def entered(hosts: Hosts, place: str = "a:443") -> Host:
    host, _ = hosts.enter(place)
    assert host is not None
    return host


def fail(hosts: Hosts, count: int, place: str = "a:443") -> None:
    for _ in range(count):
        hosts.leave(entered(hosts, place), answered=False)


async def test_a_host_has_so_many_requests_at_once() -> None:
    hosts = Hosts()
    first, *_ = [entered(hosts) for _ in range(10)]
    host, wait_s = hosts.enter("a:443")
    assert host is None
    assert 0.1 <= wait_s <= 0.21
    assert not hosts.is_broken("a:443")
    entered(hosts, "b:443")
    hosts.leave(first, answered=True)
    entered(hosts)


async def test_asking_for_the_wait_enters_nothing() -> None:
    hosts = Hosts()
    for _ in range(20):
        assert hosts.wait_s("a:443") is None
    for _ in range(10):
        entered(hosts)
    assert hosts.wait_s("a:443")


async def test_hosts_are_remembered_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sse_node.webhooks.hosts._MAX_HOSTS", 8)
    hosts = Hosts()
    fail(hosts, 5, "dead:443")
    for number in range(7):
        hosts.leave(entered(hosts, f"{number}:443"), answered=True)
    assert hosts.is_broken("dead:443")
    hosts.leave(entered(hosts, "7:443"), answered=True)
    assert not hosts.is_broken("dead:443")
    assert hosts.has_answered("0:443")


async def test_the_more_are_turned_away_the_longer_they_wait() -> None:
    hosts = Hosts()
    first, *_ = [entered(hosts) for _ in range(10)]
    waits_s = [hosts.enter("a:443")[1] for _ in range(1000)]
    assert max(waits_s[:10]) <= 0.3
    assert 5 < max(waits_s) <= 10.2
    for _ in range(10):
        hosts.leave(first, answered=True)
        first = entered(hosts)
    assert hosts.enter("a:443")[1] <= 0.21


async def test_a_host_that_has_just_failed_gets_one_request_at_a_time() -> None:
    hosts = Hosts()
    fail(hosts, 1)
    host = entered(hosts)
    assert hosts.enter("a:443")[0] is None
    hosts.leave(host, answered=True)
    for _ in range(10):
        entered(hosts)


async def test_a_host_that_does_not_answer_is_left_alone() -> None:
    hosts = Hosts()
    fail(hosts, 4)
    assert not hosts.is_broken("a:443")
    fail(hosts, 1)
    assert hosts.is_broken("a:443")
    assert hosts.broken == 1
    host, wait_s = hosts.enter("a:443")
    assert host is None
    assert 29 < wait_s < 61
    entered(hosts, "b:443")


async def test_an_answer_makes_it_whole() -> None:
    hosts = Hosts()
    fail(hosts, 4)
    hosts.leave(entered(hosts), answered=True)
    fail(hosts, 4)
    assert not hosts.is_broken("a:443")


async def test_one_request_tries_it_and_longer_pauses_follow() -> None:
    hosts = Hosts(scale=0.001)
    fail(hosts, 5)
    loop = asyncio.get_running_loop()
    for pause_s in (0.03, 0.06, 0.12, 0.24, 0.3, 0.3):
        state = hosts._hosts["a:443"]
        assert pause_s - 0.02 < state.open_until - loop.time() <= pause_s
        state.open_until = loop.time()
        host = entered(hosts)
        assert hosts.enter("a:443")[0] is None, "one at a time"
        hosts.leave(host, answered=False)
    hosts._hosts["a:443"].open_until = loop.time()
    hosts.leave(entered(hosts), answered=True)
    assert not hosts.is_broken("a:443")


async def test_hosts_without_requests_are_forgotten() -> None:
    hosts = Hosts()
    busy = entered(hosts, "busy:443")
    for number in range(10_500):
        hosts.leave(entered(hosts, f"{number}:443"), answered=True)
    assert len(hosts._hosts) <= 10_002
    assert hosts._hosts["busy:443"] is busy

"""Requests over a limit: who they count for, what they are answered, and what is not counted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from sse_node.access.client_address import TrustedPeers
from sse_node.access.limits import Limits
from sse_node.config.reading import read_settings
from sse_node.errors import RequestError
from sse_node.http.peer import UNIX
from sse_node.wire.http_head import Request, Response
from sse_node.wire.identity import ANYONE, Identity

if TYPE_CHECKING:
    from sse_node.http.router import Guard

ANN, BILLING = Identity(caller="user:ann", user="ann"), Identity(caller="key:billing")


def make_limits(**settings: str) -> Limits:
    """Return limits with a clock that stands still."""
    limits = read_settings(settings, {}).limits
    return Limits(limits, TrustedPeers("127.0.0.1"), now=lambda: 0.0)


def request_of(
    identity: Identity = ANYONE, peer: str = "192.0.2.1", forwarded_for: str = ""
) -> Request:
    headers = {b"x-forwarded-for": forwarded_for.encode()} if forwarded_for else {}
    request = Request("GET", "/accounts", "", headers)
    request.peer, request.identity = peer, identity
    return request


def is_admitted(guard: Guard, request: Request) -> bool:
    """Return whether a request passes; else it is an error of a limit."""
    try:
        return guard(request) is None
    except RequestError as error:
        if error.status != 429:
            raise
        return False


def admitted(guard: Guard, *, tries: int = 10, **of: str) -> int:
    """Return how many of so many equal requests are admitted."""
    return sum(is_admitted(guard, request_of(**of)) for _ in range(tries))  # type: ignore[arg-type]


def admit(request: Request) -> None:
    """Admit everybody, as a gate does."""


def test_a_guard_without_limits_is_the_gates_own() -> None:
    limits = make_limits()
    assert limits.guard(admit) is admit
    assert not limits.needs_clients


@pytest.mark.parametrize("name", ["streams_per_address", "new_streams_per_address"])
def test_limits_of_streams_need_the_clients_address(name: str) -> None:
    limits = make_limits(**{name: "1"})
    request = request_of(peer="2001:db8::1")
    assert limits.guard(admit)(request) is None
    assert request.client == "2001:db8::/64"
    assert request.rate_limit == ()


# Addresses


def test_addresses_are_counted_apart() -> None:
    guard = make_limits(requests_per_address="2", rate_window="2").guard(admit)
    assert admitted(guard, peer="192.0.2.1") == 4
    assert admitted(guard, peer="192.0.2.1") == 0
    assert admitted(guard, peer="192.0.2.2") == 4


def test_ipv6_is_counted_by_its_64() -> None:
    guard = make_limits(requests_per_address="2", rate_window="2").guard(admit)
    assert admitted(guard, peer="2001:db8::1") == 4
    assert admitted(guard, peer="2001:db8::2:0:0:1") == 0
    assert admitted(guard, peer="2001:db8:0:1::1") == 4
    assert admitted(guard, peer="::ffff:192.0.2.1") == 4
    assert admitted(guard, peer="192.0.2.1") == 0


@pytest.mark.parametrize("proxy", ["127.0.0.1", UNIX])
def test_behind_a_proxy_the_clients_address_counts(proxy: str) -> None:
    guard = make_limits(requests_per_address="2", rate_window="2").guard(admit)
    assert admitted(guard, peer=proxy, forwarded_for="192.0.2.1") == 4
    assert admitted(guard, peer=proxy, forwarded_for="10.1.1.1, 192.0.2.1") == 0
    assert admitted(guard, peer=proxy, forwarded_for="192.0.2.2") == 4


def test_what_others_claim_about_their_address_does_not_count() -> None:
    guard = make_limits(requests_per_address="2", rate_window="2").guard(admit)
    assert admitted(guard, forwarded_for="10.1.1.1") == 4
    assert admitted(guard, forwarded_for="10.1.1.2") == 0


def test_a_client_without_an_address_has_no_limit_for_it() -> None:
    guard = make_limits(requests_per_address="2").guard(admit)
    assert admitted(guard, peer=UNIX, tries=100) == 100


def test_what_is_over_its_addresses_limit_is_not_authenticated() -> None:
    authenticated: list[Request] = []
    guard = make_limits(requests_per_address="2", rate_window="1").guard(authenticated.append)
    assert admitted(guard) == 2
    assert len(authenticated) == 2


# Callers


def test_callers_are_counted_apart_wherever_they_are() -> None:
    guard = make_limits(requests_per_caller="2", rate_window="2").guard(admit)
    requests = [
        request_of(identity, peer=f"192.0.2.{number}")
        for number in range(10)
        for identity in (ANN, BILLING)
    ]
    assert sum(is_admitted(guard, request) for request in requests) == 8


def test_callers_without_a_name_are_counted_by_their_address() -> None:
    guard = make_limits(requests_per_caller="2", rate_window="2").guard(admit)
    assert admitted(guard, peer="192.0.2.1") == 4
    assert admitted(guard, peer="192.0.2.1") == 0
    assert admitted(guard, peer="192.0.2.2") == 4


async def test_a_caller_is_counted_when_newer_keys_have_been_fetched() -> None:
    async def admit_later(request: Request) -> None:
        await asyncio.sleep(0)
        request.identity = ANN

    guard = make_limits(requests_per_caller="1", rate_window="1").guard(admit_later)
    for is_over in (False, True):
        answer = guard(request_of())
        assert answer is not None
        assert not isinstance(answer, Response)
        if is_over:
            with pytest.raises(RequestError, match="at most 1 requests per caller and second"):
                await answer
        else:
            assert await answer is None


def test_the_answer_of_a_gate_is_passed_on() -> None:
    answer = Response(204)
    guard = make_limits(requests_per_caller="1").guard(lambda request: answer)
    assert guard(request_of()) is answer


def test_operators_are_not_counted() -> None:
    limits = make_limits(requests_per_address="1", requests_per_caller="1", events_per_caller="1")
    guard = limits.guard(admit)
    for _ in range(100):
        request = request_of()
        request.is_admin = True
        assert guard(request) is None
        limits.count_events(request, 100)
    assert [limit.exceeded for limit in limits.all] == [0, 0, 0]


# Answers


def test_a_request_over_the_limit_is_told_when_to_retry() -> None:
    limits = make_limits(requests_per_address="2", rate_window="3")
    guard = limits.guard(admit)
    assert admitted(guard, tries=6) == 6
    request = request_of()
    with pytest.raises(RequestError) as caught:
        guard(request)
    assert caught.value.detail == (
        "expected at most 2 requests per address and second; retry after 1 s"
    )
    assert caught.value.headers == ((b"Retry-After", b"1"),)
    assert request.rate_limit == (
        (b"RateLimit-Policy", b'"requests-per-address";q=6;w=3'),
        (b"RateLimit", b'"requests-per-address";r=0;t=1'),
    )
    assert [limit.exceeded for limit in limits.all] == [1, 0, 0]


def test_an_admitted_request_is_told_what_is_left() -> None:
    limits = make_limits(requests_per_address="2", requests_per_caller="1")
    request = request_of(ANN)
    assert limits.guard(admit)(request) is None
    assert request.rate_limit == (
        (b"RateLimit-Policy", b'"requests-per-address";q=20;w=10'),
        (b"RateLimit", b'"requests-per-address";r=19;t=1'),
        (b"RateLimit-Policy", b'"requests-per-caller";q=10;w=10'),
        (b"RateLimit", b'"requests-per-caller";r=9;t=1'),
    )


@pytest.mark.parametrize("name", ["requests-per-address", "requests-per-caller"])
def test_a_streams_request_over_the_limit_is_refused_as_a_stream(name: str) -> None:
    refused: list[str] = []

    def refuse(reason: str) -> Response:
        refused.append(reason)
        return Response(200)

    guard = make_limits(**{name.replace("-", "_"): "1"}, rate_window="1").guard(admit, refuse)
    first, second = request_of(), request_of()
    assert guard(first) is None
    assert guard(second) == Response(200)
    assert refused == [name]
    assert first.rate_limit == second.rate_limit == (), "heads of streams are all the same"


# Events


def test_events_are_counted_not_the_requests_that_hold_them() -> None:
    limits = make_limits(events_per_caller="10", rate_window="2")
    for events in (1, 19):
        limits.count_events(request_of(ANN), events)
    request = request_of(ANN)
    with pytest.raises(RequestError, match="at most 10 events per caller and second") as caught:
        limits.count_events(request, 5)
    assert caught.value.status == 429
    assert request.rate_limit[0] == (b"RateLimit-Policy", b'"events-per-caller";q=20;w=2')
    limits.count_events(request_of(BILLING), 20)
    assert [limit.exceeded for limit in limits.all] == [0, 0, 1]


def test_other_limits_go_on_with_the_counters() -> None:
    before = make_limits(requests_per_address="1", rate_window="1")
    guard = before.guard(lambda request: None)
    assert [is_admitted(guard, request_of()) for _ in range(3)] == [True, False, False]
    after = make_limits(requests_per_address="2", rate_window="1")
    after.continue_from(before)
    assert [limit.exceeded for limit in after.all] == [2, 0, 0]

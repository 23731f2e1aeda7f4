"""When a message is sent again: eight attempts over a day."""

import pytest

from sse_node.webhooks.schedule import ATTEMPTS, Answer, Outcome, Schedule

DAY_S = 86_400
FAILED = Answer(500, "the receiver answered 500")


def test_attempts_are_spread_over_a_day() -> None:
    for _ in range(100):
        delays_s = []
        for attempts in range(ATTEMPTS - 1):
            outcome, delay_s = Schedule(DAY_S).after(FAILED, attempts)
            assert outcome is Outcome.RETRY
            delays_s.append(delay_s)
        assert 0.8 * DAY_S <= sum(delays_s) <= 1.2 * DAY_S
        assert 4 <= delays_s[0] <= 6
        assert delays_s == sorted(delays_s)


def test_two_webhooks_do_not_come_together() -> None:
    assert len({Schedule(DAY_S).after(FAILED, 3)[1] for _ in range(100)}) == 100


def test_the_eighth_failure_is_the_last() -> None:
    assert Schedule(DAY_S).after(FAILED, ATTEMPTS - 1) == (Outcome.DEAD, 0)


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_success(status: int) -> None:
    assert Schedule(DAY_S).after(Answer(status), 5) == (Outcome.DELIVERED, 0)


def test_gone() -> None:
    assert Schedule(DAY_S).after(Answer(410, "gone"), 0) == (Outcome.GONE, 0)


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_the_least(status: int) -> None:
    outcome, delay_s = Schedule(DAY_S).after(Answer(status, "later", 1000), 0)
    assert (outcome, delay_s) == (Outcome.RETRY, 1000)
    _, delay_s = Schedule(DAY_S).after(Answer(status, "later", 1), 0)
    assert delay_s >= 4
    _, delay_s = Schedule(DAY_S).after(Answer(status, "later", 10 * DAY_S), 0)
    assert delay_s == DAY_S


def test_retry_after_of_another_status_is_ignored() -> None:
    assert Schedule(DAY_S).after(Answer(500, "no", 1000), 0)[1] <= 6


def test_other_times_keep_the_proportions() -> None:
    _, delay_s = Schedule(DAY_S / 1000).after(FAILED, 6)
    assert 0.8 * 46.135 <= delay_s <= 1.2 * 46.135
    assert Schedule(100).is_too_old(121)
    assert not Schedule(100).is_too_old(119)

"""The faults of a master that sentinels watch; the others are those of every Redis."""

import random
import time

from bench.chaos.environment import Stage
from bench.chaos.faults import FAULTS, Fault
from bench.chaos.schedule import Planned
from bench.chaos.sentinel_stage import SentinelStage
from bench.harness import SentinelTrio

_MISSING_ENTRIES = 100  # in the replica that is promoted
_LONGEST_S = 3.0  # arbitrary: from the failover until a stopped master continues
# Need a Redis that the nodes reach through a link or a socket, or that is always the same.
_OF_ONE_REDIS = {
    "redis-stop", "redis-kill", "redis-wipe", "log-trim", "failover", "demotion", "dark-link",
    "clock",
}  # fmt: skip


def _trio_of(stage: Stage) -> SentinelTrio:
    assert isinstance(stage, SentinelStage)
    return stage.trio


def _master_kill(stage: Stage, plan: Planned) -> None:
    """kill -9 to the master; the sentinels promote a replica, and the master comes back."""
    trio = _trio_of(stage)
    _fail_over_by_kill(trio, plan)


def _master_lag(stage: Stage, plan: Planned) -> None:
    """kill -9 to the master; both replicas lack its last hundred entries."""
    trio = _trio_of(stage)
    replicas = trio.replicas
    for replica in replicas:
        trio.ask(replica, "CONFIG", "SET", "masterauth", "wrong")
    trio.ask(trio.master, "CLIENT", "KILL", "TYPE", "replica")
    stage.wait_acknowledged(_MISSING_ENTRIES)
    for replica in replicas:  # the new master's replica needs the right one again
        trio.ask(replica, "REPLICAOF", "127.0.0.1", "1")
        trio.ask(replica, "CONFIG", "SET", "masterauth", "")
    _fail_over_by_kill(trio, plan)


def _fail_over_by_kill(trio: SentinelTrio, plan: Planned) -> None:
    old = trio.master
    old.kill()
    trio.wait_for_new_master(old)
    _stay_away(plan)
    old.start()
    trio.wait_complete()


def _master_stop(stage: Stage, plan: Planned) -> None:
    """SIGSTOP to the master until after the failover; then it continues as a master of the past."""
    trio = _trio_of(stage)
    old = trio.master
    old.suspend()
    try:
        trio.wait_for_new_master(old)
        _stay_away(plan)
    finally:
        old.resume()
    trio.wait_complete()


def _master_switch(stage: Stage, plan: Planned) -> None:
    """SENTINEL FAILOVER: a replica is promoted while the master lives on."""
    trio = _trio_of(stage)
    old = trio.master
    trio.fail_over()
    trio.wait_for_new_master(old)
    trio.wait_complete()


def _sentinels_kill(stage: Stage, plan: Planned) -> None:
    """kill -9 to two of three sentinels; a node that starts meanwhile asks the third one."""
    trio = _trio_of(stage)
    killed = random.Random(plan.seed).sample(trio.sentinels, 2)
    for sentinel in killed:
        sentinel.kill()
    stage.nodes[plan.node].kill()
    stage.restart_node(plan.node)
    for sentinel in killed:
        sentinel.start()
    trio.quicken()
    trio.wait_complete()


def _stay_away(plan: Planned) -> None:
    time.sleep(random.Random(plan.seed).uniform(0, _LONGEST_S))


SENTINEL_FAULTS = {name: fault for name, fault in FAULTS.items() if name not in _OF_ONE_REDIS} | {
    fault.name: fault
    for fault in (
        Fault("master-kill", _master_kill, may_reset=True, loses=True),
        Fault("master-lag", _master_lag, may_reset=True, loses=True),
        Fault("master-stop", _master_stop, may_reset=True, loses=True),
        Fault("master-switch", _master_switch, may_reset=True, loses=True),
        Fault("sentinels-kill", _sentinels_kill, is_of_node=True),
    )
}
"""Every kind of fault of a run with Sentinel, by name."""

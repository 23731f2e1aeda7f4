"""The faults of a cluster; the others are those of every Redis."""

import random
import time
from collections.abc import Callable

from bench.chaos.cluster_stage import ClusterStage
from bench.chaos.environment import Stage
from bench.chaos.faults import FAULTS, Fault
from bench.chaos.schedule import Planned
from bench.harness import RedisProcess
from bench.harness.cluster import slot_of

_LONGEST_S = 3.0  # arbitrary: from the failover until a stopped or separated master continues
# Need one Redis with one log.
_OF_ONE_REDIS = {
    "client-kill", "output-buffer", "redis-stop", "redis-kill", "redis-wipe", "log-trim",
    "failover", "demotion", "dark-link", "clock", "foreign-ids",
}  # fmt: skip


def _stage_of(stage: Stage) -> ClusterStage:
    assert isinstance(stage, ClusterStage)
    return stage


def _some_master(stage: ClusterStage, plan: Planned) -> tuple[int, RedisProcess]:
    """Return the slot of a shard that users have, and the server that has it."""
    keys = random.Random(plan.seed).choice(stage.keys_of_users())
    return slot_of(keys.log), stage.master_of(keys)


def _master_kill(stage: Stage, plan: Planned) -> None:
    """kill -9 to a master; its replica is promoted, and the master comes back as one."""
    own = _stage_of(stage)
    slot, old = _some_master(own, plan)
    old.kill()
    own.cluster.wait_for_new_master(slot, old)
    own.wait_served(slot)
    _stay_away(plan)
    old.start()
    own.cluster.wait_complete()


def _master_stop(stage: Stage, plan: Planned) -> None:
    """SIGSTOP to a master until after the failover; then it continues as a master of the past."""
    cluster = _stage_of(stage).cluster
    _fail_over_while_gone(stage, plan, cluster.suspend, cluster.resume)


def _bus_cut(stage: Stage, plan: Planned) -> None:
    """A master is cut off the bus: clients still reach it while its replica takes over."""
    cluster = _stage_of(stage).cluster
    _fail_over_while_gone(stage, plan, cluster.cut_off, cluster.let_back)


def _fail_over_while_gone(
    stage: Stage,
    plan: Planned,
    leave: Callable[[RedisProcess], None],
    come_back: Callable[[RedisProcess], None],
) -> None:
    own = _stage_of(stage)
    slot, old = _some_master(own, plan)
    leave(old)
    try:
        own.cluster.wait_for_new_master(slot, old)
        own.wait_served(slot)
        _stay_away(plan)
    finally:
        come_back(old)
    own.cluster.wait_complete()


def _master_switch(stage: Stage, plan: Planned) -> None:
    """CLUSTER FAILOVER: a replica takes a master's place in step with it."""
    own = _stage_of(stage)
    slot, old = _some_master(own, plan)
    own.cluster.ask(own.cluster.replica_of(old), "CLUSTER", "FAILOVER")
    own.cluster.wait_for_new_master(slot, old)
    own.cluster.wait_complete()


def _slot_move(stage: Stage, plan: Planned) -> None:
    """A shard's slot moves to another master, key by key."""
    own = _stage_of(stage)
    slot, source = _some_master(own, plan)
    masters = [each for each in own.cluster.running if own.cluster.is_master(each)]
    others = [each for each in masters if each is not source]
    own.cluster.move_slot(slot, random.Random(plan.seed).choice(others))
    own.cluster.wait_complete()


def _stay_away(plan: Planned) -> None:
    time.sleep(random.Random(plan.seed).uniform(0, _LONGEST_S))


CLUSTER_FAULTS = {name: fault for name, fault in FAULTS.items() if name not in _OF_ONE_REDIS} | {
    fault.name: fault
    for fault in (
        Fault("master-kill", _master_kill, may_reset=True, loses=True),
        Fault("master-stop", _master_stop, may_reset=True, loses=True),
        Fault("bus-cut", _bus_cut, may_reset=True, loses=True),
        Fault("master-switch", _master_switch, may_reset=True, loses=True),
        Fault("slot-move", _slot_move),
    )
}
"""Every kind of fault of a run with a cluster, by name."""

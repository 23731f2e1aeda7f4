"""The faults: each function injects one into a running stage and returns when it is over."""

import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from bench.chaos.environment import LOG_KEY, Stage
from bench.chaos.schedule import Planned
from bench.harness import ProcessError, RedisProcess
from bench.harness.c_program import has_compiler
from bench.harness.waiting import wait_until

_STOPPED_S = 10.0  # as long as a SIGSTOP by hand, a swapping host or a live migration may take
_MISSING_ENTRIES = 100  # in a promoted replica
_TRIMMED_LENGTH = 5  # arbitrary: entries left by a trim
_TRIM_AFTER = 30  # arbitrary: events after the cut; more than the trim leaves
_BIG_EVENT_BYTES = 100_000  # more than Redis puts into a client's fixed buffer of 16 KiB
_LONGEST_DOWN_S = 1.5  # arbitrary: how long a killed process stays away
_STOPPED_CLIENTS = 3
_MOST_LOAD_BYTES = 48 * 1024 * 1024  # several times what kernels and nginx hold for three clients
_EVENTS_PER_LOOK = 10  # arbitrary: asking the nodes takes as long as a few big events
_TRICKLE_S = 15.0  # arbitrary: for a node to cut off clients that read nothing
_HOUR_S = 3600
_FOREIGN_EVENTS = 200  # arbitrary
_EVENTS_AHEAD = 50  # arbitrary: events with ids an hour ahead


class Fault(msgspec.Struct, frozen=True):
    """One kind of fault."""

    name: str
    inject: Callable[[Stage, Planned], None]
    """Injects and ends the fault. Raises ProcessError when it had no effect."""
    may_reset: bool = False
    """Streams may be reset."""
    loses: bool = False
    """Redis loses events that it has acknowledged."""
    trims: bool = False
    """The log is trimmed."""
    moves_clock: bool = False
    """Redis needs a clock that can be moved, and that needs a C compiler."""
    needs_access: bool = False
    """It is about the access of clients: only with `--auth`."""
    is_of_node: bool = False
    """The schedule chooses the node that is affected."""

    @property
    def about(self) -> str:
        """A description in one line."""
        return (self.inject.__doc__ or "").partition("\n")[0]


def _client_kill(stage: Stage, plan: Planned) -> None:
    """CLIENT KILL TYPE pubsub: Redis ends every subscription."""
    if stage.ask_redis("CLIENT", "KILL", "TYPE", "pubsub") < len(stage.nodes):
        raise ProcessError("CLIENT KILL found fewer subscribers than there are nodes")


def _output_buffer(stage: Stage, plan: Planned) -> None:
    """Redis ends every subscription whose output buffer is over its limit, with a big event."""
    limit = "client-output-buffer-limit"
    before = _subscribers(stage)
    stage.ask_redis("CONFIG", "SET", limit, "pubsub 1024 0 0")
    stage.traffic.publish(_some_user(stage, plan), _BIG_EVENT_BYTES)
    stage.ask_redis("CONFIG", "SET", limit, "pubsub 33554432 8388608 60")
    if before & _subscribers(stage):
        raise ProcessError("a subscriber has survived an output buffer limit of 1 KiB")


def _redis_stop(stage: Stage, plan: Planned) -> None:
    """SIGSTOP to Redis for ten seconds: connections stay open and silent."""
    stage.redis.suspend()
    time.sleep(_STOPPED_S)
    stage.redis.resume()


def _redis_kill(stage: Stage, plan: Planned) -> None:
    """kill -9 to a Redis that has everything on disk."""
    stage.redis.kill()
    _stay_away(plan)
    stage.redis.start()


def _redis_wipe(stage: Stage, plan: Planned) -> None:
    """kill -9 to a Redis that has lost its files when it starts again."""
    stage.redis.kill()
    stage.forget_files_of_redis()
    _stay_away(plan)
    stage.redis.start()


def _log_trim(stage: Stage, plan: Planned) -> None:
    """The log is trimmed below a node's position while the node's link is cut."""
    link = stage.traffic.link
    stage.traffic.on_loop(link.cut)
    stage.wait_acknowledged(_TRIM_AFTER)
    stage.ask_redis("XTRIM", LOG_KEY, "MAXLEN", "=", _TRIMMED_LENGTH)
    stage.traffic.on_loop(link.restore)


def _failover(stage: Stage, plan: Planned) -> None:
    """kill -9 to the master; the promoted replica lacks the last hundred entries."""
    old, new = stage.redis, _lagging_replica(stage)
    old.kill()
    _stay_away(plan)
    stage.promote(new)
    stage.retire(old)


def _demotion(stage: Stage, plan: Planned) -> None:
    """A lagging replica is promoted, and the old master, still connected, becomes its replica."""
    old, new = stage.redis, _lagging_replica(stage)
    stage.promote(new)
    stage.ask_redis("REPLICAOF", "127.0.0.1", new.port, process=old)
    _wait_synced(stage, old)
    stage.retire(old)


def _node_kill(stage: Stage, plan: Planned) -> None:
    """kill -9 to a node."""
    stage.nodes[plan.node].kill()
    _stay_away(plan)
    stage.restart_node(plan.node)


def _node_stop(stage: Stage, plan: Planned) -> None:
    """SIGTERM to a node, which drains and is started again."""
    code = stage.nodes[plan.node].terminate(timeout_s=20)
    if code != 0:
        stage.problems.append(f"a node ended with exit code {code} after SIGTERM")
    stage.restart_node(plan.node)


def _worker_kill(stage: Stage, plan: Planned) -> None:
    """kill -9 to one worker of a node."""
    before = stage.node_of_workers.worker_pids()
    os.kill(random.Random(plan.seed).choice(sorted(before)), signal.SIGKILL)
    stage.wait_for_new_workers(before, old=len(before) - 1)


def _worker_replace(stage: Stage, plan: Planned) -> None:
    """SIGHUP to a node: its workers are replaced one by one."""
    before = stage.node_of_workers.worker_pids()
    stage.node_of_workers.send_signal(signal.SIGHUP)
    stage.wait_for_new_workers(before, old=0)


def _nginx_reload(stage: Stage, plan: Planned) -> None:
    """nginx reloads its configuration."""
    stage.nginx.reload()


def _nginx_kill(stage: Stage, plan: Planned) -> None:
    """kill -9 to nginx and its workers."""
    stage.nginx.kill()
    _stay_away(plan)
    stage.nginx.start()


def _slow_client(stage: Stage, plan: Planned) -> None:
    """Clients stop reading during big events, and read again when they have been cut off."""
    user = _some_user(stage, plan)
    before = _streams_cut_off(stage)
    watchers = [
        watcher
        for watcher in stage.traffic.watchers.all
        if watcher.journal.user == user and watcher.is_open
    ]
    stopped = random.Random(plan.seed).sample(watchers, min(_STOPPED_CLIENTS, len(watchers)))
    for watcher in stopped:
        stage.traffic.on_loop(watcher.stop_reading)
    load_bytes = 0
    deadline_s = time.monotonic() + _TRICKLE_S

    def are_cut_off() -> bool:
        # A stream whose access ends meanwhile is closed for that.
        with_access = [watcher for watcher in stopped if watcher.token.expires_s > time.time()]
        return _streams_cut_off(stage) >= before + len(with_access)

    while not are_cut_off() and time.monotonic() < deadline_s:
        if load_bytes < _MOST_LOAD_BYTES:
            for _ in range(_EVENTS_PER_LOOK):
                load_bytes += _BIG_EVENT_BYTES
                stage.traffic.publish(user, _BIG_EVENT_BYTES)
            deadline_s = time.monotonic() + _TRICKLE_S
        else:
            stage.wait_acknowledged(1)
    if not are_cut_off():
        stage.problems.append(
            f"clients that read nothing were not cut off {_TRICKLE_S:g} s after the last big event"
        )
    for watcher in stopped:
        stage.traffic.on_loop(watcher.resume_reading)


def _dark_link(stage: Stage, plan: Planned) -> None:
    """A node's TCP connections to Redis drop all bytes without a FIN; new ones work."""
    stage.traffic.on_loop(stage.traffic.link.go_dark)


def _clock(stage: Stage, plan: Planned) -> None:
    """The clock of Redis is an hour ahead for some events, and then right again."""
    assert stage.clock is not None
    before_s, _ = stage.ask_redis("TIME")
    stage.clock.set(_HOUR_S)
    if stage.ask_redis("TIME")[0] < before_s + _HOUR_S:
        raise ProcessError("the clock of Redis has not moved")
    stage.wait_acknowledged(_EVENTS_AHEAD)
    stage.clock.set(0)


def _foreign_ids(stage: Stage, plan: Planned) -> None:
    """Another program publishes events with invented ids, and with ids of other event logs."""
    newest: Any = stage.ask_redis("XREVRANGE", LOG_KEY, "+", "-", "COUNT", 1)
    real_id = newest[0][0].decode()
    ids = ["9999999999999-0", "1-1", real_id, real_id.partition("-")[0], "x"]
    logs = ["", "0123456789abcdef", stage.neighbour_log_name()]
    chance = random.Random(plan.seed)
    seen = stage.traffic.watchers.foreign
    for number in range(_FOREIGN_EVENTS):
        user = f"user-{chance.randrange(stage.users)}"
        payload: dict[str, Any] = {"id": chance.choice(ids), "log": chance.choice(logs)}
        if not payload["log"]:
            del payload["log"]
        data = {"user": user, "number": plan.seed + number}
        payload |= {"userId": user, "eventType": "foreign", "data": data}
        stage.ask_redis("PUBLISH", "user-events", msgspec.json.encode(payload))
        stage.publish_by_script("other:sse:log", payload)
    wait_until(
        lambda: stage.traffic.watchers.foreign > seen, "a foreign event at a stream", timeout_s=10
    )


def _revocation(stage: Stage, plan: Planned) -> None:
    """The tokens of some streams are revoked; they end on every node and come back with others."""
    chance = random.Random(plan.seed)
    there = [watcher for watcher in stage.traffic.watchers.all if watcher.is_open]
    ended = stage.traffic.watchers.ended
    revoked = [
        each for each in chance.sample(there, len(there) // 10) if stage.traffic.revoke(each)
    ]
    if not revoked:
        raise ProcessError("no node has accepted a revocation")
    wait_until(
        lambda: stage.traffic.watchers.ended > ended,
        "a stream to end with sse.closed",
        timeout_s=10,
    )


FAULTS = {
    fault.name: fault
    for fault in (
        Fault("client-kill", _client_kill),
        Fault("output-buffer", _output_buffer),
        Fault("redis-stop", _redis_stop),
        Fault("redis-kill", _redis_kill),
        Fault("redis-wipe", _redis_wipe, may_reset=True, loses=True),
        Fault("log-trim", _log_trim, may_reset=True, trims=True),
        Fault("failover", _failover, may_reset=True, loses=True),
        Fault("demotion", _demotion, may_reset=True, loses=True),
        Fault("node-kill", _node_kill, is_of_node=True),
        Fault("node-stop", _node_stop, is_of_node=True),
        Fault("worker-kill", _worker_kill),
        Fault("worker-replace", _worker_replace),
        Fault("nginx-reload", _nginx_reload),
        Fault("nginx-kill", _nginx_kill),
        Fault("slow-client", _slow_client),
        Fault("dark-link", _dark_link),
        Fault("clock", _clock, moves_clock=True),
        Fault("foreign-ids", _foreign_ids),
        Fault("revocation", _revocation, needs_access=True),
    )
}
"""Every kind of fault, by name."""


def possible_faults(faults: Mapping[str, Fault] = FAULTS) -> list[str]:
    """Return the names of all faults that this machine can inject, without those of `--auth`."""
    return [
        name
        for name, fault in faults.items()
        if (has_compiler() or not fault.moves_clock) and not fault.needs_access
    ]


def _stay_away(plan: Planned) -> None:
    time.sleep(random.Random(plan.seed).uniform(0, _LONGEST_DOWN_S))


def _streams_cut_off(stage: Stage) -> float:
    return stage.metric("sse_node_streams_closed_total", reason="slow-client")


def _some_user(stage: Stage, plan: Planned) -> str:
    watchers = stage.traffic.watchers.all
    return watchers[plan.seed % len(watchers)].journal.user


def _subscribers(stage: Stage) -> set[str]:
    """Return the ids of the nodes' subscribers; sentinels and the neighbour hear no events."""
    listed: bytes = stage.ask_redis("CLIENT", "LIST", "TYPE", "pubsub")
    return {
        line.split()[0].decode() for line in listed.splitlines() if b"name=sse-node:node-" in line
    }


def _lagging_replica(stage: Stage) -> RedisProcess:
    """Start a replica and disconnect it a hundred acknowledged events before now."""
    replica = stage.start_redis()
    stage.ask_redis("REPLICAOF", "127.0.0.1", stage.redis.port, process=replica)
    _wait_synced(stage, replica)
    stage.ask_redis("REPLICAOF", "NO", "ONE", process=replica)
    stage.wait_acknowledged(_MISSING_ENTRIES)
    return replica


def _wait_synced(stage: Stage, replica: RedisProcess) -> None:
    wait_until(
        lambda: (
            stage.ask_redis("INFO", "replication", process=replica)["master_link_status"] == "up"
        ),
        "a replica to be in step with its master",
        timeout_s=20,
    )

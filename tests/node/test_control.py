"""What a worker is given, and the messages between it and its supervisor."""

import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sse_node.node.control import (
    ALIVE,
    CRASH,
    ControlChannel,
    Descriptors,
    WorkerConfig,
    WorkerState,
    process_name,
    take_worker_config,
)

Channels = tuple[ControlChannel, ControlChannel]


@pytest.fixture
def channels() -> Iterator[Channels]:
    """Both ends of a channel: the supervisor's, the worker's."""
    pair = ControlChannel.pair()
    yield pair
    for channel in pair:
        channel.close()


@pytest.fixture
def config(tmp_path: Path) -> WorkerConfig:
    return WorkerConfig(
        number=2,
        descriptors=Descriptors(listener=7, control=8),
        directory=str(tmp_path),
        redis_url="unix:///tmp/redis.sock",
        started=12.5,
        redis_wait_s=0.0,
        crashes=3,
    )


def test_a_configuration_is_taken_out_of_the_environment(config: WorkerConfig) -> None:
    environment = {"HOME": "/"}
    config.put_into(environment)
    assert len(environment) == 2
    assert take_worker_config(environment) == config
    assert environment == {"HOME": "/"}


@pytest.mark.parametrize("environment", [{}, {"SSE_NODE_WORKER_CONFIG": ""}])
def test_a_process_without_a_configuration_is_no_worker(environment: dict[str, str]) -> None:
    assert take_worker_config(environment) is None


def test_unknown_members_of_a_newer_supervisor_are_ignored(config: WorkerConfig) -> None:
    environment: dict[str, str] = {}
    config.put_into(environment)
    (name,) = environment
    environment[name] = environment[name].replace("{", '{"more":1,')
    assert take_worker_config(environment) == config


def test_every_process_has_a_socket_of_its_own(config: WorkerConfig, tmp_path: Path) -> None:
    assert config.socket_path == tmp_path / f"{os.getpid()}.sock"


def test_the_last_worker_removes_the_directory(config: WorkerConfig, tmp_path: Path) -> None:
    config = replace(config, directory=str(tmp_path / "shared"))
    config.socket_path.parent.mkdir()
    config.socket_path.touch()
    config.remove_directory()
    assert config.socket_path.exists()
    config.socket_path.unlink()
    config.remove_directory()
    assert not config.socket_path.parent.exists()
    config.remove_directory()


def test_a_worker_is_named_after_its_node_and_number(config: WorkerConfig) -> None:
    assert process_name("node-1", config) == "node-1.2"
    assert process_name("node-1", None) == "node-1"


def test_messages_arrive_in_order(channels: Channels) -> None:
    supervisor, worker = channels
    words = [state.name.lower() for state in WorkerState] + [ALIVE]
    for word in words:
        worker.send(word)
    assert supervisor.receive() == words
    assert supervisor.receive() == []
    supervisor.send(CRASH)
    supervisor.send(CRASH)
    assert worker.receive() == [CRASH, CRASH]


def test_no_more_than_64_messages_are_read_at_once(channels: Channels) -> None:
    supervisor, worker = channels
    for _ in range(70):
        worker.send(ALIVE)
    assert [len(supervisor.receive()) for _ in range(3)] == [64, 6, 0]


def test_a_message_in_pieces_is_one_message() -> None:
    ours, theirs = socket.socketpair()  # a stream, as where there is no SOCK_SEQPACKET
    channel = ControlChannel(ours)
    theirs.send(b"list")
    assert channel.receive() == []
    theirs.send(b"ening\nali")
    assert channel.receive() == ["listening"]
    theirs.send(b"ve\n")
    assert channel.receive() == ["alive"]
    theirs.close()
    channel.close()


def test_a_supervisor_that_does_not_read_blocks_no_worker(channels: Channels) -> None:
    supervisor, worker = channels
    inherited = ControlChannel.from_descriptor(os.dup(worker.fileno()))
    for _ in range(10_000):  # more than a socket's buffer
        inherited.send(ALIVE)
    inherited.close()
    assert supervisor.receive() == [ALIVE] * 64


def test_the_end_of_the_other_process_is_seen_after_its_messages(channels: Channels) -> None:
    supervisor, worker = channels
    worker.send("serving")
    worker.close()
    assert supervisor.receive() == ["serving"]
    with pytest.raises(EOFError):
        supervisor.receive()
    supervisor.send(CRASH)  # dropped


def test_a_closed_end_is_the_end_of_the_channel(channels: Channels) -> None:
    channels[1].close()
    with pytest.raises(EOFError):
        channels[1].receive()

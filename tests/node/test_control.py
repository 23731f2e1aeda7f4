"""What a worker is given, and what it and its supervisor say to each other."""

import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sse_node.node.control import Place, Step, take_place


@pytest.fixture
def line() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a line: the supervisor's, the worker's."""
    supervisors, workers = socket.socketpair()
    with supervisors, workers:
        yield supervisors, workers


@pytest.fixture
def place(line: tuple[socket.socket, socket.socket], tmp_path: Path) -> Place:
    return Place(
        number=2,
        listener=7,
        line=line[1].fileno(),
        directory=str(tmp_path),
        redis_url="unix:///tmp/redis.sock",
        started=12.5,
        patience_s=0.0,
        crashes=3,
    )


def test_a_place_goes_through_the_environment_once(place: Place) -> None:
    environment = {"HOME": "/"}
    place.enter(environment)
    assert len(environment) == 2
    assert take_place(environment) == place
    assert environment == {"HOME": "/"}


def test_a_supervisor_that_does_not_listen_stops_no_worker(place: Place) -> None:
    environment: dict[str, str] = {}
    place.enter(environment)
    taken = take_place(environment)
    assert taken is not None
    for _ in range(10_000):  # more than a socket holds
        taken.say(Step.LIVES)
    assert taken.hear() == 0


@pytest.mark.parametrize("environment", [{}, {"SSE_NODE_WORKER_PLACE": ""}])
def test_who_is_given_no_place_is_no_worker(environment: dict[str, str]) -> None:
    assert take_place(environment) is None


def test_what_a_newer_supervisor_gives_besides_is_left_out(place: Place) -> None:
    environment: dict[str, str] = {}
    place.enter(environment)
    (name,) = environment
    environment[name] = environment[name].replace("{", '{"more":1,')
    assert take_place(environment) == place


def test_every_process_answers_on_a_socket_of_its_own(place: Place, tmp_path: Path) -> None:
    assert place.socket_path == tmp_path / f"{os.getpid()}.sock"


def test_steps_are_a_byte_each(place: Place, line: tuple[socket.socket, socket.socket]) -> None:
    for step in Step:
        place.say(step)
    assert line[0].recv(64) == b"".join(step.value for step in Step)
    assert {len(step.value) for step in Step} == {1}


def test_a_supervisor_that_is_gone_hears_nothing(
    place: Place, line: tuple[socket.socket, socket.socket]
) -> None:
    line[0].close()
    place.say(Step.SERVES)


def test_crashes_are_heard(place: Place, line: tuple[socket.socket, socket.socket]) -> None:
    line[0].send(b"C")
    assert place.hear() == 1
    line[0].send(b"CC")
    assert place.hear() == 2


def test_the_end_of_the_supervisor_is_heard(
    place: Place, line: tuple[socket.socket, socket.socket]
) -> None:
    line[0].close()
    with pytest.raises(EOFError):
        place.hear()


def test_a_line_that_is_broken_is_the_end_of_the_supervisor(
    place: Place, line: tuple[socket.socket, socket.socket]
) -> None:
    line[1].close()
    with pytest.raises(EOFError):
        place.hear()


def test_the_last_worker_removes_the_directory(place: Place, tmp_path: Path) -> None:
    place = replace(place, directory=str(tmp_path / "shared"))
    place.socket_path.parent.mkdir()
    place.socket_path.touch()
    place.remove_directory()
    assert place.socket_path.exists()
    place.socket_path.unlink()
    place.remove_directory()
    assert not place.socket_path.parent.exists()
    place.remove_directory()

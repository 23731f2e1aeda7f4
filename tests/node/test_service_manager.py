"""What a process says to its service manager, and takes from it."""

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from sse_node.errors import ConfigError
from sse_node.node import service_manager
from sse_node.node.service_manager import ServiceManager


@pytest.fixture(params=["path", "abstract"])
def notified(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """The socket of a service manager, and its address as it gives it."""
    path = str(tmp_path / "notify.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.settimeout(10)
        if request.param == "path":
            receiver.bind(path)
            yield path, receiver
        else:
            receiver.bind("\0" + path)
            yield "@" + path, receiver


def test_what_it_is_told(notified: tuple[str, socket.socket]) -> None:
    address, receiver = notified
    environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "3000000", "A": "b"}
    manager = ServiceManager(environment)
    assert environment == {"A": "b"}
    assert manager.watchdog_s == 3
    manager.on_ready("listening")
    assert receiver.recv(200) == b"READY=1\nSTATUS=listening"
    manager.on_alive()
    assert receiver.recv(200) == b"WATCHDOG=1"
    manager.on_reload()
    expected = rb"RELOADING=1\nMONOTONIC_USEC=\d+\nSTATUS=reloading"
    assert re.fullmatch(expected, receiver.recv(200))
    manager.on_alive(is_reloading=True)
    manager.on_alive()
    told = [receiver.recv(200) for _ in range(3)]
    assert told == [b"WATCHDOG=1", b"WATCHDOG=1", b"READY=1\nSTATUS=serving"]
    manager.on_stop()
    assert receiver.recv(200) == b"STOPPING=1\nSTATUS=draining"


def test_a_watchdog_of_another_process_is_not_fed(notified: tuple[str, socket.socket]) -> None:
    address, receiver = notified
    manager = ServiceManager(
        {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}
    )
    manager.on_alive()
    manager.on_stop()
    assert receiver.recv(200).startswith(b"STOPPING=1")


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": "/no/such/socket"}])
def test_without_one_nothing_happens(environment: dict[str, str]) -> None:
    manager = ServiceManager(environment)
    manager.on_ready("listening")
    manager.on_alive()
    assert manager.listener is None
    assert manager.flags == {}


# Sockets


@pytest.fixture
def environment() -> dict[str, str]:
    return {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": "x.socket"}


def taken(
    environment: dict[str, str], given: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> ServiceManager:
    monkeypatch.setattr(service_manager, "_FIRST_DESCRIPTOR", given.detach())
    return ServiceManager(environment)


def test_a_tcp_socket(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    given = socket.create_server(("127.0.0.1", 0))
    port = given.getsockname()[1]
    manager = taken(environment, given, monkeypatch)
    assert environment == {}
    assert manager.listener is not None
    with manager.listener:
        assert manager.flags == {"host": "127.0.0.1", "port": str(port), "uds": ""}
        assert not manager.listener.get_inheritable()


def test_a_unix_socket(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given = socket.socket(socket.AF_UNIX)
    given.bind(str(tmp_path / "node.sock"))
    given.listen()
    manager = taken(environment, given, monkeypatch)
    assert manager.listener is not None
    with manager.listener:
        assert manager.flags == {"uds": str(tmp_path / "node.sock")}


def test_sockets_of_another_process_are_not_taken(environment: dict[str, str]) -> None:
    environment["LISTEN_PID"] = "1"
    assert ServiceManager(environment).listener is None


@pytest.mark.parametrize("kind", ["bound only", "datagrams", "abstract"])
def test_sockets_that_cannot_be_used(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    family = socket.AF_UNIX if kind == "abstract" else socket.AF_INET
    given = socket.socket(family, socket.SOCK_DGRAM if kind == "datagrams" else socket.SOCK_STREAM)
    given.bind("\0sse-node-test" if kind == "abstract" else ("127.0.0.1", 0))
    if kind == "abstract":
        given.listen()
    with pytest.raises(ConfigError, match=r"LISTEN_FDS: .*expected one listening TCP socket"):
        taken(environment, given, monkeypatch)


@pytest.mark.parametrize("count", ["2", "x"])
def test_only_one_socket_can_be_used(environment: dict[str, str], count: str) -> None:
    environment["LISTEN_FDS"] = count
    with pytest.raises(ConfigError, match=f"LISTEN_FDS: '{count}' is not allowed"):
        ServiceManager(environment)


def test_a_descriptor_that_is_not_there(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_manager, "_FIRST_DESCRIPTOR", 999_999)
    with pytest.raises(ConfigError, match="LISTEN_FDS"):
        ServiceManager(environment)

"""The HTTP client of webhooks: connections go to what was checked, and nowhere else."""

from __future__ import annotations

import asyncio
import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING

import pytest

from sse_node.config.reading import read_settings
from sse_node.webhooks.schedule import Answer
from sse_node.webhooks.sender import Sender, _retry_after_s
from sse_node.webhooks.targets import Targets
from tests.support.certificates import Certificates
from tests.support.receiver import Receiver, answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


class Names:
    """A resolver whose names lead to other places each time they are looked up."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = list(answers)
        self.lookups = 0

    async def look_up(self, host: str, port: int) -> list[str]:
        self.lookups += 1
        return self._answers[min(self.lookups, len(self._answers)) - 1]


def rules(names: Names, allowed: str, port: int = 443) -> Targets:
    flags: dict[str, str | None] = {
        "webhook_allow_http": "yes",
        "webhook_allow_hosts": allowed,
        "webhook_ports": str(port),
    }
    return Targets(read_settings(flags, {}).webhooks, names.look_up)


async def send(targets: Targets, url: str, sender: Sender | None = None) -> Answer:
    own = sender or Sender(targets)
    try:
        return await own.send(targets.parse(url), {"webhook-id": "1"}, b"{}")
    finally:
        if sender is None:
            await own.shutdown()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Listen on every address of loopback."""
    with Receiver(host="0.0.0.0") as receiver:
        yield receiver


async def test_a_name_that_rebinds_between_check_and_connect(receiver: Receiver) -> None:
    names = Names(["127.0.0.2"], ["127.0.0.1"])
    targets = rules(names, "127.0.0.2/32", receiver.port)
    answered = await send(targets, f"http://rebinds.example:{receiver.port}/")
    assert answered == Answer(204)
    assert names.lookups == 1
    assert [request.address for request in receiver.requests] == ["127.0.0.2"]
    assert receiver.requests[0].headers["host"] == f"rebinds.example:{receiver.port}"
    again = await send(targets, f"http://rebinds.example:{receiver.port}/")
    assert again == Answer(None, "rebinds.example leads to 127.0.0.1, which is not public")
    assert len(receiver.requests) == 1


async def test_a_kept_connection_is_not_used_when_the_name_leads_elsewhere(
    receiver: Receiver,
) -> None:
    names = Names(["127.0.0.2"], ["127.0.0.2"], ["10.0.0.1"])
    targets = rules(names, "127.0.0.2/32", receiver.port)
    sender = Sender(targets)
    url = f"http://a.example:{receiver.port}/"
    answers = [await send(targets, url, sender) for _ in range(3)]
    await sender.shutdown()
    assert [each.status for each in answers] == [204, 204, None]


async def test_no_socket_for_an_address_that_was_not_checked() -> None:
    sender = Sender(rules(Names(["127.0.0.1"]), ""))
    for address in ("127.0.0.1", "8.8.8.8"):
        with pytest.raises(OSError, match="was not checked"):
            sender._addresses.make_socket(
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443))
            )
    with pytest.raises(OSError, match="was not checked"):
        await sender._addresses.resolve("a.example", 443)
    await sender.shutdown()


async def test_addresses_are_allowed_for_as_long_as_a_request(receiver: Receiver) -> None:
    targets = rules(Names(["127.0.0.1"]), "127.0.0.0/8")
    sender = Sender(targets)
    await send(targets, f"http://127.0.0.1:{receiver.port}/", sender)
    assert not +sender._addresses._in_use
    assert not sender._addresses._of_host
    await sender.shutdown()


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    certificates = Certificates(tmp_path)
    certificates.make_authority("ca")
    certificates.sign("good", "ca")
    return certificates


@pytest.fixture
def secure(certificates: Certificates) -> Iterator[Receiver]:
    pair = (certificates.path("good.crt"), certificates.path("good.key"))
    with Receiver(pair) as receiver:
        yield receiver


async def test_a_certificate_of_another_name_is_refused_and_the_name_is_sent(
    secure: Receiver, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", certificates.path("ca.crt"))
    targets = rules(Names(["127.0.0.1"]), "hooks.example,127.0.0.1")
    answered = await send(targets, f"https://hooks.example:{secure.port}/")
    assert answered.status is None
    assert "its certificate is not valid" in answered.error
    assert secure.server_names == ["hooks.example"]
    assert (await send(targets, f"https://127.0.0.1:{secure.port}/")).status == 204


async def test_a_connection_that_the_receiver_has_closed_meanwhile_is_replaced(
    receiver: Receiver,
) -> None:
    receiver.answers["/"] = lambda received: None if received.number == 1 else answer("200 OK")
    targets = rules(Names(["127.0.0.1"]), "127.0.0.0/8")
    sender = Sender(targets)
    url = f"http://127.0.0.1:{receiver.port}/"
    assert [(await send(targets, url, sender)).status for _ in range(2)] == [200, 200]
    assert len(receiver.requests) == 3
    await sender.shutdown()


async def test_a_host_that_does_not_accept_connections_has_three_seconds() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    port = listener.getsockname()[1]
    fillers = [socket.socket() for _ in range(8)]
    for filler in fillers:
        filler.setblocking(False)
        filler.connect_ex(("127.0.0.1", port))
    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    answered = await send(rules(Names(["127.0.0.1"]), "127.0.0.0/8"), f"http://127.0.0.1:{port}/")
    assert answered == Answer(None, "no connection within 3 s", is_transport=True)
    assert 2.9 < loop.time() - begun_s < 4
    for each in (listener, *fillers):
        each.close()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("", 0), ("0", 0), ("120", 120), ("-1", 0), ("x", 0), ("1.5", 0), ("9" * 30, 604_800),
     ("Fri, 31 Dec 1999 23:59:59 GMT", 0)],
)  # fmt: skip
def test_retry_after(text: str, seconds: float) -> None:
    assert _retry_after_s(text) == seconds


def test_retry_after_a_date() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert 85 < _retry_after_s(date) <= 90

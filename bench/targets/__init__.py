"""Other servers of event streams, measured on the same work as sse-node."""

from collections.abc import Callable

import msgspec

from bench.harness.servers import Server
from bench.targets import nchan, nest, starlette

INSTALL = "make peers"
"""The command that installs what all of them need."""


class Peer(msgspec.Struct, frozen=True):
    """One that this project brings the set-up of."""

    name: str
    make: Callable[[int | None], Server]
    """Takes the core it runs on."""
    missing: Callable[[], str]
    """What of it is not installed: "the program node is"; empty when nothing is missing."""
    versions: Callable[[], str]
    """Of what it is made of, for people."""


PEERS = {
    peer.name: peer
    for peer in (
        Peer("nchan", nchan.Nchan, nchan.missing, nchan.versions),
        Peer("starlette", starlette.Starlette, starlette.missing, starlette.versions),
        Peer("nestjs", nest.NestJs, nest.missing, nest.versions),
    )
}

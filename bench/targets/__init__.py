"""Other servers of event streams, measured at the same work as sse-node."""

from bench.harness.servers import Server
from bench.targets.nchan import Nchan
from bench.targets.redis_peers import NestJs, Starlette

INSTALL = "make peers"
"""The command that installs what all of them need."""

PEERS: dict[str, type[Server]] = {peer.name: peer for peer in (Nchan, Starlette, NestJs)}
"""The peers that this project starts itself, by name."""

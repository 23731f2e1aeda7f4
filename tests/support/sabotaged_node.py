"""A node with one thing turned off, for the checker to find.

`python -m tests.support.sabotaged_node THING serve …`, where the rest is the node's own
command line.
"""

from __future__ import annotations

import sys

from sse_node.__main__ import main
from sse_node.delivery.history import History
from sse_node.redis.catch_up import CatchUp
from sse_node.streams import opening, registry

_run = CatchUp.run
_append = History.append


async def _fill_only(catch_up: CatchUp) -> None:
    if not catch_up.filled:
        await _run(catch_up)


def _accept_everything(history: History, position: int, audience: str, payload: bytes) -> bool:
    _append(history, position, audience, payload)
    return True


def _encode_no_reset(reason: str, position: int) -> bytes:
    return b""


SABOTAGES: dict[str, list[tuple[object, str, object]]] = {
    "catch-up": [(CatchUp, "run", _fill_only)],
    "dedupe": [(History, "append", _accept_everything)],
    "resets": [(module, "encode_reset", _encode_no_reset) for module in (opening, registry)],
}


if __name__ == "__main__":
    for owner, name, replacement in SABOTAGES[sys.argv.pop(1)]:
        assert hasattr(owner, name), name
        setattr(owner, name, replacement)
    main(prog_name="sse-node")

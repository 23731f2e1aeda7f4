"""A node whose event loop is blocked again and again, as long as a file is there.

`STALL_FILE=PATH python -m tests.support.stalling_node serve …`
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from sse_node.__main__ import main
from sse_node.node.server import Server

_STALL_S = 1.1

_file = Path(os.environ["STALL_FILE"])
_on_second = Server._on_second


def _on_second_and_stall(server: Server) -> None:
    _on_second(server)
    if _file.exists():
        time.sleep(_STALL_S)


if __name__ == "__main__":
    setattr(Server, _on_second.__name__, _on_second_and_stall)
    main(prog_name="sse-node")

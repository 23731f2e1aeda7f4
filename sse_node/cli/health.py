"""What the command `health` does: find the node of this machine or container, ask it once.

A health check of a container runs beside the node and sees none of its flags. The command line and
the environment of the running process say where it listens (proc(5)).
"""

import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from sse_node.config.reading import CONFIG_VARIABLE
from sse_node.config.sections import ListenSettings
from sse_node.errors import reason_of

_TIMEOUT_S: Final = 2.0
_REQUEST: Final = (
    b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nUser-Agent: sse-node health\r\n"
    b"Connection: close\r\n\r\n"
)
# An address to listen on that is not one to connect to.
_REACHED_BY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def running_nodes(proc: Path = Path("/proc")) -> Iterator[tuple[list[str], Mapping[str, str]]]:
    """Yield the flags and the environment of each process that runs `sse-node serve`.

    Args:
        proc: where the system shows processes; nothing is found where it shows none.
    """
    for process in proc.glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
        except OSError:  # it has ended
            continue
        flags = _flags_of(words)
        if flags is not None:
            yield _with_absolute_config(flags, _environment_of(process), process)


def _with_absolute_config(
    flags: list[str], environment: Mapping[str, str], process: Path
) -> tuple[list[str], Mapping[str, str]]:
    """Return both with the path of the configuration file seen from the process's folder."""
    try:
        folder = (process / "cwd").readlink()
    except OSError:  # another user's, or it has ended
        return flags, environment
    if path := environment.get(CONFIG_VARIABLE):
        environment = {**environment, CONFIG_VARIABLE: str(folder / path)}
    for number, word in enumerate(flags):
        if word == "--config" and number + 1 < len(flags):
            flags[number + 1] = str(folder / flags[number + 1])
        elif word.startswith("--config="):
            flags[number] = f"--config={folder / word.removeprefix('--config=')}"
    return flags, environment


def _flags_of(words: list[str]) -> list[str] | None:
    """Return what follows `sse-node serve` or `python -m sse_node serve`."""
    for number, word in enumerate(words[1:], 1):
        before = words[number - 1]
        is_module = before == "sse_node" and words[number - 2 : number - 1] == ["-m"]
        if word == "serve" and (is_module or Path(before).name == "sse-node"):
            return words[number + 1 :]
    return None


def _environment_of(process: Path) -> Mapping[str, str]:
    try:
        pairs = (process / "environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:  # another user's
        return os.environ
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def ask_health(listen: ListenSettings) -> str:
    """Ask `/health/live` once; return why the node is not alive, empty when it is."""
    if not listen.uds and not listen.port:
        return "the kernel has chosen the port; expected --port"
    where = listen.uds or f"{_REACHED_BY.get(listen.host, listen.host)} port {listen.port}"
    try:
        with _connect(listen) as connection:
            connection.sendall(_REQUEST)
            with connection.makefile("rb") as answer:
                status = answer.readline(100).split(b" ", 2)[1:2]
    except OSError as exc:
        return f"{where}: {reason_of(exc)}"
    if status != [b"200"]:
        return f"{where}: answered {b''.join(status).decode(errors='replace') or 'nothing'}"
    return ""


def _connect(listen: ListenSettings) -> socket.socket:
    if not listen.uds:
        host = _REACHED_BY.get(listen.host, listen.host)
        return socket.create_connection((host, listen.port), _TIMEOUT_S)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(_TIMEOUT_S)
    try:
        connection.connect(listen.uds)
    except OSError:
        connection.close()
        raise
    return connection

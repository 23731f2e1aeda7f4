"""``python -m bench.workloads.opening_with_tokens``: what `--auth jwt` costs a stream that opens.

A node without authentication and one with a secret (HS256) open the same streams in turn, a server
of its own each time. Each opens them twice: the second time, the tokens have been verified before.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import click
import jwt

from bench.harness.servers import SseNode
from bench.measure import procfs as proc
from bench.measure.load import Client

_SECRET = b"a secret of the benchmark, longer than 32 bytes"
_WARMUP = 500
_AT_ONCE = 256
_BAR_NEW, _BAR_CACHED = 0.6, 0.85


@dataclass
class Opening:
    """Streams that were opened."""

    per_s: float
    cpu_us: float
    """CPU time of the server per stream."""

    def __str__(self) -> str:
        return f"{self.per_s:,.0f}/s ({self.cpu_us:.0f} µs)"


def measure(
    core: int | None, flags: tuple[str, ...], tokens: Path | None, count: int
) -> list[Opening]:
    """Open streams twice, with a server of their own. Raises ProcessError."""
    measured = []
    with SseNode(core, *flags) as server, Client(server.host, server.port) as client:
        if tokens is not None:
            client.use_tokens(tokens)
        target = server.target("bench-{}")
        client.open_streams(_WARMUP, target, first=count, at_once=_AT_ONCE)
        for _ in range(2):
            before = proc.cpu_time(*server.pids)
            opened = client.open_streams(count, target, at_once=_AT_ONCE)
            cpu_s = (proc.cpu_time(*server.pids) - before).total_s
            measured.append(Opening(opened.opened / opened.seconds, cpu_s / opened.opened * 1e6))
            client.close_streams()
    return measured


def _write_tokens(directory: Path, count: int) -> tuple[tuple[str, ...], Path]:
    """Write a secret, and a token for each number; return a node's flags and the tokens' path."""
    expires_s = int(time.time()) + 3600
    (directory / "secret").write_bytes(_SECRET)
    claims = ({"sub": f"bench-{number}", "exp": expires_s} for number in range(count))
    lines = [jwt.encode(each, _SECRET, algorithm="HS256") for each in claims]
    (directory / "tokens").write_text("\n".join(lines) + "\n")
    flags = ("--auth", "jwt", "--jwt-key", str(directory / "secret"))
    return flags, directory / "tokens"


@click.command()
@click.option("--streams", default=5000, type=click.IntRange(1, 15_000), help="Streams of a round.")
@click.option("--rounds", default=5, type=click.IntRange(1, 100), help="Rounds of both, in turn.")
def main(streams: int, rounds: int) -> None:
    """Compare opening streams without authentication and with tokens."""
    core = proc.reserve_core()
    found: dict[str, list[list[Opening]]] = {"none": [], "jwt": []}
    with tempfile.TemporaryDirectory() as directory:
        flags, tokens = _write_tokens(Path(directory), streams + _WARMUP)
        for number in range(1, rounds + 1):
            found["none"].append(measure(core, (), None, streams))
            found["jwt"].append(measure(core, flags, tokens, streams))
            lines = [f"{kind} {' and '.join(map(str, each[-1]))}" for kind, each in found.items()]
            click.echo(f"round {number}: {', '.join(lines)}")
    for name, turn, bar in (("every token new", 0, _BAR_NEW), ("cached tokens", 1, _BAR_CACHED)):
        rate = _median(found["jwt"], turn, "per_s") / _median(found["none"], turn, "per_s")
        cpu = _median(found["none"], turn, "cpu_us") / _median(found["jwt"], turn, "cpu_us")
        click.echo(f"{name}: {rate:.2f} of the rate without, {cpu:.2f} by CPU; bar {bar}")


def _median(rounds: list[list[Opening]], turn: int, field: str) -> float:
    values: list[float] = [getattr(each[turn], field) for each in rounds]
    return statistics.median(values)


if __name__ == "__main__":
    main()

"""The command `nginx`: the shipped nginx.conf, with a user's streams sent to few nodes."""

import re
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Final

import click

from sse_node.cli.exits import EXIT_CONFIG, fail
from sse_node.wire.sharding import SHARD_COUNTS

_PLACE: Final = re.compile(r"unix:/[^\s;]+|[A-Za-z0-9_.-]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}")
_SERVERS: Final = re.compile(r"(?:^ {8}server \S+ max_fails.*;\n)+", re.MULTILINE)
_STREAMS: Final = re.compile(r"(location ~ \^/events/sse.*?proxy_pass http://)nodes;", re.DOTALL)
_OPTIONS: Final = "max_fails=3 fail_timeout=1s"


@click.command()
@click.option(
    "--shards",
    required=True,
    type=click.Choice([str(count) for count in SHARD_COUNTS]),
    help="The nodes' --shards.",
)
@click.option(
    "--node", "nodes", multiple=True, required=True, metavar="ADDRESS",
    help="Where a node listens: HOST:PORT or unix:/PATH. Once for each node.",
)  # fmt: skip
def nginx(shards: str, nodes: tuple[str, ...]) -> None:
    """Print an nginx.conf that sends the streams of each shard to one node of several.

    A node then hears the shards of its streams only. While a node is away, others have its streams.

    \b
    sse-node nginx --shards 16 --node 10.0.0.1:3000 --node 10.0.0.2:3000 >nginx.conf
    """
    for node in nodes:
        if not _PLACE.fullmatch(node):
            fail(f"--node {node!r}: expected HOST:PORT or unix:/PATH", EXIT_CONFIG)
    click.echo(nginx_conf(int(shards), nodes), nl=False)


def nginx_conf(shards: int, nodes: tuple[str, ...]) -> str:
    """Return a complete nginx.conf.

    Args:
        shards: how many there are, one of `SHARD_COUNTS`.
        nodes: where they listen, as nginx names servers.
    """
    text = _SERVERS.sub("".join(_server(node) for node in nodes), _shipped())
    text = text.replace("    upstream nodes {", _affinity(shards, nodes) + "    upstream nodes {")
    return _STREAMS.sub(r"\1$stream_nodes;", text)


def _server(node: str, is_backup: bool = False) -> str:
    return f"        server {node} {_OPTIONS}{' backup' if is_backup else ''};\n"


def _affinity(shards: int, nodes: tuple[str, ...]) -> str:
    """Return what finds the nodes of a stream: its user's, or any for a stream without a name."""
    upstreams = "".join(_upstream(number, nodes) for number in range(len(nodes)))
    ranges = "".join(
        f"        {percent} nodes_{shard * len(nodes) // shards};\n"
        for shard, percent in enumerate(percentages(shards))
    )
    return (
        f"    # {shards} shards: equal ranges of the hash of the user that the path names, as nodes"
        " divide users.\n"
        "    map $uri $shard_user {\n"
        '        default "";\n'
        '        "~^/events/sse/(?<named>.+)$" $named;\n'
        "    }\n"
        "    split_clients $shard_user $nodes_of_shard {\n"
        f"{ranges}"
        "    }\n"
        "    map $shard_user $stream_nodes {\n"
        "        default $nodes_of_shard;\n"
        '        "" nodes;\n'
        "    }\n\n"
        f"{upstreams}"
    )


def percentages(shards: int) -> list[str]:
    """Return the percentage of each shard for split_clients; the last one takes what is left.

    They have two decimals, so with 32 and 64 shards some users (1 of 600) are sent to the node of
    the next shard, which serves them as well.
    """
    ends = [round(10_000 * number / shards) for number in range(shards + 1)]
    sizes = [end - begin for begin, end in pairwise(ends)]
    return [*(f"{size / 100:.2f}%" for size in sizes[:-1]), "*"]


def _upstream(first: int, nodes: tuple[str, ...]) -> str:
    """Return the upstream of a node, with the others for the time it is away."""
    others = [*nodes[first + 1 :], *nodes[:first]]
    return (
        f"    upstream nodes_{first} {{\n"
        f"        zone nodes_{first} 64k;\n"
        f"{_server(nodes[first])}"
        f"{''.join(_server(node, is_backup=True) for node in others)}"
        "        keepalive 32;\n"
        "    }\n"
    )


def _shipped() -> str:
    """Return the nginx.conf of this version, of the package or of a working copy."""
    packaged = files("sse_node.cli") / "nginx.conf"
    if packaged.is_file():
        return packaged.read_text("utf-8")
    return (Path(__file__).parents[2] / "nginx.conf").read_text("utf-8")

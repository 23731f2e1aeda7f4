"""The nginx.conf that knows of shards: nginx takes it, and divides users as nodes do."""

import subprocess
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from bench.harness.nginx import AnyNginxProcess, nginx_binary, place_nginx_conf
from sse_node.__main__ import main
from sse_node.cli.nginx import nginx_conf, percentages
from sse_node.wire.sharding import SHARD_COUNTS, shard_of

NODES = ("10.0.0.1:3000", "unix:/run/node2.sock", "[fd00::3]:3000")


@pytest.mark.parametrize("shards", SHARD_COUNTS)
@pytest.mark.parametrize("nodes", [NODES[:1], NODES], ids=["one", "three"])
def test_nginx_accepts_it(shards: int, nodes: tuple[str, ...], tmp_path: Path) -> None:
    # `nodes` has each once, and each node's own upstream all of them.
    places = [*(nodes * len(nodes)), *nodes]
    text = place_nginx_conf(nginx_conf(shards, nodes), tmp_path, "127.0.0.1:8080", places)
    conf = tmp_path / "nginx.conf"
    conf.write_text(text)
    words = [nginx_binary() or "nginx", "-t"]
    words += ["-c", str(conf), "-p", str(tmp_path), "-e", str(tmp_path / "log")]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


class ShardNginx(AnyNginxProcess):
    """An nginx that answers with the node of a stream, by the generated maps."""

    def __init__(self, shards: int) -> None:
        super().__init__()
        self._shards = shards

    def _configuration(self) -> str:
        nodes = tuple(f"127.0.0.1:{number + 1}" for number in range(self._shards))
        text = nginx_conf(self._shards, nodes)
        maps = text[text.index("    map $uri $shard_user") : text.index("    upstream nodes_0")]
        return f"""pid {self.private_directory}/nginx.pid;
            events {{}}
            http {{
                map_hash_max_size 4096;
                access_log off;
                client_body_temp_path {self.private_directory}/body;
                proxy_temp_path {self.private_directory}/proxy;
                fastcgi_temp_path {self.private_directory}/fastcgi;
                uwsgi_temp_path {self.private_directory}/uwsgi;
                scgi_temp_path {self.private_directory}/scgi;
                {maps}
                server {{
                    listen {self.host}:{self.port};
                    location / {{ return 200 $stream_nodes; }}
                }}
            }}"""


@pytest.mark.parametrize(("shards", "most_elsewhere"), [(1, 0), (4, 0), (16, 0), (64, 5)])
def test_its_hash_is_ours(shards: int, most_elsewhere: int) -> None:
    users = [f"user-{number}" for number in range(1000)]
    with ShardNginx(shards) as nginx, httpx.Client(base_url=nginx.url) as http:
        nodes = [http.get(f"/events/sse/{user}").text for user in users]
        assert http.get("/events/sse").text == "nodes"
        assert http.get("/events/sse/a%40b").text == f"nodes_{shard_of('a@b', shards)}"
    elsewhere = [
        user
        for user, node in zip(users, nodes, strict=True)
        if node != f"nodes_{shard_of(user, shards)}"
    ]
    assert len(elsewhere) <= most_elsewhere


@pytest.mark.parametrize("shards", SHARD_COUNTS)
def test_the_parts_are_equal(shards: int) -> None:
    parts = [float(each.rstrip("%")) for each in percentages(shards)[:-1]]
    assert all(abs(each - 100 / shards) <= 0.01 for each in parts)
    assert abs(100 - sum(parts) - 100 / shards) < 0.01


def test_the_command_prints_it() -> None:
    printed = CliRunner().invoke(main, ["nginx", "--shards", "4", "--node", "a:1", "--node", "b:1"])
    assert printed.exit_code == 0
    assert printed.output == nginx_conf(4, ("a:1", "b:1"))
    wrong = CliRunner().invoke(main, ["nginx", "--shards", "4", "--node", "a;"])
    assert wrong.exit_code == 3

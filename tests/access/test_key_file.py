"""The keys of tokens in a file: which hold when it changes."""

import logging
from pathlib import Path

import pytest

from sse_node.access.key_file import KeyFile
from sse_node.errors import ConfigError
from tests.support.tokens import SECRET, key_set, signer


class Changes:
    """Counts the calls."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


def test_other_keys_hold_when_the_file_changes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = tmp_path / "key"
    path.write_bytes(SECRET)
    changes = Changes()
    file = KeyFile(str(path), "", changes)
    file.reload()
    assert changes.count == 0
    path.write_bytes(key_set(signer("RS256", "a").jwk(), signer("ES256", "b").jwk()))
    file.reload()
    file.reload()
    assert [key.key_id for key in file.keys] == ["a", "b"]
    assert changes.count == 1
    assert caplog.messages == ["--jwt-key: 2 keys"]


@pytest.mark.parametrize("content", [b"short-secret", b"{", None], ids=["short", "JSON", "gone"])
def test_a_wrong_file_changes_nothing_until_it_is_right(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes | None
) -> None:
    path = tmp_path / "key"
    path.write_bytes(SECRET)
    changes = Changes()
    file = KeyFile(str(path), "HS512", changes)
    before = file.keys
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    file.reload()
    file.reload()
    assert (file.keys, changes.count) == (before, 0)
    [line] = caplog.messages
    assert line.startswith("keeping the keys of tokens as they are: --jwt-key: ")
    assert "short-secret" not in line
    path.write_bytes(SECRET[::-1])
    file.reload()
    assert [key.key for key in file.keys] == [SECRET[::-1]]


def test_a_wrong_file_stops_the_start(tmp_path: Path) -> None:
    path = tmp_path / "key"
    with pytest.raises(ConfigError, match="No such file"):
        KeyFile(str(path), "", Changes())
    path.write_bytes(SECRET)
    with pytest.raises(ConfigError, match="a secret with RS256"):
        KeyFile(str(path), "RS256", Changes())

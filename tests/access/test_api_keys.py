"""The file of API keys: its lines, its changes, and the keys that are found in it."""

import logging
from hashlib import sha256
from pathlib import Path

import pytest

from sse_node.access.api_keys import ApiKeys, looks_like_key, new_key, read_keys
from sse_node.errors import ConfigError, SecretConfigError
from sse_node.wire.identity import Identity, Patterns

HASH = "0" * 64
OTHER = "1" * 64


def file_of(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "keys"
    path.write_text("\n".join(lines))
    return path


def test_a_new_key_is_found_by_its_line(tmp_path: Path) -> None:
    key, line = new_key("billing", " observe publish:user:*  publish:room:42 ")
    assert looks_like_key(key)
    assert len(key) == 47
    assert line == f"billing {sha256(key.encode()).hexdigest()} " + (
        "observe publish:user:* publish:room:42"
    )
    keys = ApiKeys(str(file_of(tmp_path, "# keys", "", "  ", f"old {HASH} revoke", line, "")))
    assert keys.find(key) == Identity(
        caller="key:billing",
        rights=frozenset({"observe"}),
        publish=Patterns(["user:*", "room:42"]),
    )
    assert new_key("billing", "observe")[0] != key


@pytest.mark.parametrize("change", [slice(1, None), slice(None, -1), slice(None, None, -1)])
def test_what_is_nearly_a_key_is_unknown(tmp_path: Path, change: slice) -> None:
    key, line = new_key("billing", "observe")
    keys = ApiKeys(str(file_of(tmp_path, line)))
    for wrong in (key[change], key + "x", key.upper(), "", "ssk_€", line.split()[1]):
        assert keys.find(wrong) is None
    assert keys.find(key) is not None


@pytest.mark.parametrize(
    ("credential", "expected"),
    [("ssk_abc", True), ("ssk_", True), ("SSK_abc", False), ("eyJ.a.b", False), ("", False)],
)
def test_a_key_is_told_from_a_token(credential: str, expected: bool) -> None:
    assert looks_like_key(credential) is expected


LINES = {
    "name alone": ("billing", "the hash"),
    "no rights": (f"billing {HASH}", "a right"),
    "name with a slash": (f"a/b {HASH} observe", "the name"),
    "name that is too long": (f"{'n' * 65} {HASH} observe", "the name"),
    "a comment that is indented": (f"  # billing {HASH} observe", "the name"),
    "the key instead of its hash": (f"billing {new_key('n', 'observe')[0]} observe", "the hash"),
    "hash in capitals": (f"billing {'A' * 64} observe", "the hash"),
    "half a hash": (f"billing {'0' * 63} observe", "the hash"),
    "no hash": ("billing observe revoke", "the hash"),
    "unknown right": (f"billing {HASH} observe admin", "a right"),
    "right in capitals": (f"billing {HASH} Observe", "a right"),
    "rights with commas": (f"billing {HASH} observe,revoke", "a right"),
    "publish to nothing": (f"billing {HASH} publish:", "a right"),
    "publish with a quote": (f'billing {HASH} publish:"a"', "a right"),
    "publish beyond ASCII": (f"billing {HASH} publish:ä", "a right"),
    "byte order mark": (f"\ufeffbilling {HASH} observe", "the name"),
}


@pytest.mark.parametrize(("line", "part"), LINES.values(), ids=list(LINES))
def test_a_line_that_is_wrong_is_named_and_not_shown(line: str, part: str) -> None:
    with pytest.raises(SecretConfigError) as caught:
        read_keys(f"ok {OTHER} observe\n\n{line}\n".encode())
    assert str(caught.value).startswith(f"--api-keys: line 3: {part} is not allowed; expected ")
    assert line not in str(caught.value)
    assert "ssk_" not in str(caught.value)


def test_a_key_has_one_line_and_a_service_may_have_two_keys() -> None:
    assert len(read_keys(f"a {HASH} observe\na {OTHER} revoke".encode())) == 2
    with pytest.raises(ConfigError, match="line 2: the hash of an earlier line"):
        read_keys(f"a {HASH} observe\nb {HASH} revoke".encode())


def test_a_file_that_is_not_utf8() -> None:
    with pytest.raises(ConfigError, match="--api-keys: the file is not allowed; expected UTF-8"):
        read_keys(b"\xff")


@pytest.mark.parametrize("name", ["", "a b", "a\n", " a", "#a", "ä", "n" * 65, f"a {HASH} revoke"])
def test_a_name_that_would_spoil_the_file_gets_no_key(name: str) -> None:
    with pytest.raises(ConfigError, match="NAME: the name"):
        new_key(name, "observe")


@pytest.mark.parametrize("rights", ["", " ", "all", "publish:", "observe;revoke"])
def test_rights_that_there_are_not_get_no_key(rights: str) -> None:
    with pytest.raises(ConfigError, match="--may: a right"):
        new_key("billing", rights)


def test_a_right_cannot_bring_a_line_of_its_own() -> None:
    _, line = new_key("billing", "observe\nrevoke")
    assert len(read_keys(line.encode())) == 1


def test_keys_come_and_go_with_the_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    old, old_line = new_key("old", "observe")
    new, new_line = new_key("new", "observe")
    path = file_of(tmp_path, old_line)
    keys = ApiKeys(str(path))
    keys.reload()
    assert caplog.messages == []
    file_of(tmp_path, new_line, "", "")
    keys.reload()
    assert keys.find(old) is None
    assert keys.find(new) is not None
    path.write_text("")
    keys.reload()
    assert keys.find(new) is None
    assert caplog.messages == ["--api-keys: 1 keys", "--api-keys: 0 keys"]


@pytest.mark.parametrize("content", ["half a line", None])
def test_a_wrong_file_leaves_the_keys_as_they_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str | None
) -> None:
    key, line = new_key("billing", "observe")
    path = file_of(tmp_path, line)
    keys = ApiKeys(str(path))
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    keys.reload()
    keys.reload()
    assert keys.find(key) is not None
    [text] = caplog.messages
    assert text.startswith("keeping the API keys as they are: --api-keys: ")


def test_a_wrong_file_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        ApiKeys(str(tmp_path / "keys"))
    with pytest.raises(ConfigError, match="line 1: the hash"):
        ApiKeys(str(file_of(tmp_path, "billing")))

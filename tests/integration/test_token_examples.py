"""Tokens as docs/security.md makes them in four languages, judged by the node."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from sse_node.access.jwt_keys import read_keys
from sse_node.access.tokens import TokenVerifier

DOCUMENT = (Path(__file__).parents[2] / "docs" / "security.md").read_text("utf-8")
SECRET = "0123456789abcdef" * 4
EXAMPLES = {
    "js": ("token.cjs", ["node", "token.cjs"]),
    "python": ("token_for.py", [sys.executable, "token_for.py"]),
    "go": ("token.go", ["go", "run", "token.go"]),
    "php": ("token.php", ["php", "token.php"]),
}


@pytest.mark.parametrize("language", EXAMPLES)
def test_a_token_is_accepted(language: str, tmp_path: Path) -> None:
    name, command = EXAMPLES[language]
    match = re.search(rf"^```{language}\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert match is not None
    (tmp_path / name).write_text(match[1], "utf-8")
    (tmp_path / "secret.txt").write_text(SECRET + "\n")
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    keys = read_keys("--jwt-key", SECRET.encode())
    identity = TokenVerifier(lambda: keys).verify(done.stdout.strip())
    assert identity.user == "ann"
    assert identity.may_listen("room:42")
    assert not identity.may_listen("room:43")
    assert identity.may_publish_to_user("ann")
    assert not identity.may_publish_to_user("bob")

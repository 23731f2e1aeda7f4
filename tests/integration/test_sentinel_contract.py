"""The tests of the contract pass through sentinels as well; here those of events and accounts."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bench.harness import ROOT

pytestmark = pytest.mark.integration

MODULES = ("test_events.py", "test_accounts.py", "test_idempotency.py", "test_two_nodes.py")


def test_contract_through_sentinels() -> None:
    files = [f"tests/integration/{name}" for name in MODULES]
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--redis", "sentinel"]
    ended = subprocess.run([*words, *files], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout[-4000:]
    assert "skipped" not in ended.stdout

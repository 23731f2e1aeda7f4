"""Why something failed, without a library's wording."""

from __future__ import annotations

import errno
import socket

import pytest

from sse_node.errors import reason_of

REFUSED = "Connection refused"


def wrapped(inner: Exception, text: str) -> Exception:
    """Return an error that a library raised while it handled another."""
    try:
        try:
            raise inner
        except Exception:
            raise RuntimeError(text)  # noqa: B904
    except RuntimeError as exc:
        return exc


@pytest.mark.parametrize(
    ("exc", "reason"),
    [
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), "No such file or directory"),
        (OSError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 1)"), REFUSED),
        (OSError("Multiple exceptions: [Errno 111] Connect call failed ('::1', 1)"), REFUSED),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (wrapped(OSError(errno.ECONNREFUSED, REFUSED), "Error 111 connecting to a:1."), REFUSED),
        (wrapped(ValueError("x"), "no answer within 1.5 s"), "no answer within 1.5 s"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_reason(exc: Exception, reason: str) -> None:
    assert reason_of(exc) == reason

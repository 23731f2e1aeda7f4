"""One bounded HTTP GET: no redirects, a limit of bytes, and a limit of time for all of it."""

import urllib.request
from http.client import HTTPException, HTTPMessage
from time import monotonic
from typing import IO, Final
from urllib.error import HTTPError, URLError

_TIMEOUT_S: Final = 5.0
_MAX_BYTES: Final = 1024 * 1024
_CHUNK_BYTES: Final = 64 * 1024


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Lets a redirect be the error that it is: keys come from the URL that was configured."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> None:
        """Follow nothing."""


def download(url: str) -> bytes:
    """Return what a URL answers with status 200; blocks for some seconds at most.

    Args:
        url: http or https.

    Raises:
        OSError: no whole answer came; the text has nothing of the URL.
    """
    deadline_s = monotonic() + _TIMEOUT_S
    data = b""
    try:
        request = urllib.request.Request(url, headers={"Accept": "application/json"})
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=_TIMEOUT_S) as answer:
            if answer.status != 200:
                raise OSError(f"status {answer.status}")
            while chunk := answer.read1(_CHUNK_BYTES):
                data += chunk
                if len(data) > _MAX_BYTES:
                    raise OSError(f"more than {_MAX_BYTES} bytes")
                if monotonic() > deadline_s:
                    raise OSError(f"not complete within {_TIMEOUT_S:g} s")
            if answer.length:
                raise OSError("the connection ended too early")
    except HTTPError as exc:
        exc.close()
        raise OSError(f"status {exc.code}") from None
    except URLError as exc:
        raise OSError(str(getattr(exc.reason, "strerror", None) or exc.reason)) from None
    except (HTTPException, ValueError) as exc:
        raise OSError(type(exc).__name__) from None
    return data

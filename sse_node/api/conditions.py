"""Conditional requests on resources with versions (RFC 9110 §13): ETag, If-Match, If-None-Match."""

import re
from typing import Final

from sse_node.errors import RequestError
from sse_node.wire.http_head import Request

ANY: Final = "*"
_TAGS: Final = re.compile(r'[\t ,]*((?:W/)?"[!#-~\x80-\xff]*"(?:[\t ]*,[\t ,]*|[\t ]*\Z))+')
_TAG: Final = re.compile(r'(W/)?"([!#-~\x80-\xff]*)"')
_EXPECTED: Final = 'expected * or entity tags, such as "3"'


def etag(version: str) -> tuple[bytes, bytes]:
    """Return the header that names a version."""
    return b"ETag", b'"%b"' % version.encode()


def expected_versions(request: Request) -> str:
    """Return the versions that `If-Match` lists as ` 1 2 `, `*` for any or without the header.

    A weak tag and one that is no version match nothing (strong comparison, §8.8.3.2).

    Raises:
        RequestError: 400, it is malformed.
    """
    tags = _tags_of(request, b"if-match")
    if tags is None or tags == ANY:
        return ANY
    versions = (tag for weak, tag in _TAG.findall(tags) if not weak and tag.isdigit())
    return f" {' '.join(versions)} "


def is_known(request: Request, version: str) -> bool:
    """Return whether `If-None-Match` says that the client has this version (304).

    Raises:
        RequestError: 400, it is malformed.
    """
    tags = _tags_of(request, b"if-none-match")
    if tags is None:
        return False
    return tags == ANY or version in (tag for _, tag in _TAG.findall(tags))


def precondition_failed(version: str) -> RequestError:
    """Return the error of a change that expects another version than the one there is."""
    return RequestError(412, f"If-Match: the present version is {version}", (etag(version),))


def _tags_of(request: Request, name: bytes) -> str | None:
    value = request.header(name)
    if value is None or value.strip() == ANY:
        return value and ANY
    if _TAGS.fullmatch(value) is None:
        raise RequestError(400, f"{name.decode().title()}: {_EXPECTED}")
    return value

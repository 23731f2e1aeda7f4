"""The resources `/openapi.json`, `/asyncapi.json` and `/docs/api`."""

from functools import cached_property, partial

import msgspec

from sse_node.api.page import html_response
from sse_node.documents.asyncapi import asyncapi_document
from sse_node.documents.openapi import openapi_document
from sse_node.documents.reference import reference_page
from sse_node.documents.security import Security
from sse_node.wire.channels import Channels
from sse_node.wire.http_head import Request, Response


class Documents:
    """The documents, each made when it is first asked for; lives as long as the node.

    Args:
        channels: of the node.
        security: what the node requires of its callers.
    """

    def __init__(self, channels: Channels, security: Security) -> None:
        self._make = partial(openapi_document, channels, security)

    @cached_property
    def _openapi(self) -> Response:
        return _json(self._make())

    @cached_property
    def _asyncapi(self) -> Response:
        return _json(asyncapi_document())

    @cached_property
    def _reference(self) -> Response:
        return html_response(reference_page(self._make()))

    def openapi(self, request: Request) -> Response:
        """Answer `GET /openapi.json`."""
        return self._openapi

    def asyncapi(self, request: Request) -> Response:
        """Answer `GET /asyncapi.json`."""
        return self._asyncapi

    def reference(self, request: Request) -> Response:
        """Answer `GET /docs/api`."""
        return self._reference


def _json(document: object) -> Response:
    headers = ((b"Content-Type", b"application/json"), (b"Cache-Control", b"no-cache"))
    return Response(200, headers, msgspec.json.encode(document))

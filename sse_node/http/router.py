"""The route table, and what every route has in common: HEAD, OPTIONS, 404, 405, 421."""

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from sse_node.errors import RequestError
from sse_node.http.cors import Cors
from sse_node.http.hosts import AllowedHosts
from sse_node.http.site import Answer, Route
from sse_node.wire.http_head import Headers, Request, Response, decode_segment

Handler = Callable[[Request], Answer | Awaitable[Answer]]
Guard = Callable[[Request], Response | Awaitable[Response | None] | None]
"""Called before a handler; returns None, or the answer instead of the handler's; may raise."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One path and what its methods do.

    Attributes:
        path: `/accounts/{id}`; a name in braces is one segment, given decoded to the handler.
        handlers: by method; HEAD is answered as GET without its content.
        max_content_bytes: the most content a request may have.
        has_reserve: it is answered where there is no room for other requests.
    """

    path: str
    handlers: dict[str, Handler]
    max_content_bytes: int = 64 * 1024
    has_reserve: bool = False

    @property
    def allowed(self) -> bytes:
        """The value of the Allow header."""
        methods = {*self.handlers, "OPTIONS"}
        if "GET" in methods:
            methods.add("HEAD")
        return ", ".join(sorted(methods)).encode()


def general_headers(server_id: str) -> Headers:
    """Return the headers of every response of a node."""
    return (
        (b"Server", b"sse-node"),
        (b"X-Server-Id", server_id.encode()),
        (b"X-Content-Type-Options", b"nosniff"),
    )


class Router:
    """Finds what answers a request; lives as long as the node.

    Args:
        resources: all there are.
        cors: says which pages may read the answers.
        hosts: rejects requests for other hosts.
        general_headers: that every response has.
        guard_of: returns the guard of a method and a path; None for one that admits everybody.
    """

    def __init__(
        self,
        resources: Iterable[Resource],
        cors: Cors,
        hosts: AllowedHosts,
        general_headers: Headers = (),
        guard_of: Callable[[str, str], Guard | None] = lambda method, path: None,
    ) -> None:
        self._general_headers = general_headers
        self._cors = cors
        self._hosts = hosts
        self._literal: dict[str, tuple[Resource, dict[str, Route]]] = {}
        self._templates: list[tuple[re.Pattern[str], Resource, dict[str, Route]]] = []
        handlers: dict[str, Handler] = {}
        for resource in resources:
            routes = _routes(resource, guard_of)
            if "{" in resource.path:
                pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", resource.path))
                self._templates.append((pattern, resource, routes))
            else:
                self._literal[resource.path] = resource, routes
            handlers |= resource.handlers
        self._server = Resource("*", handlers)  # RFC 9110 §9.3.7

    def find(self, request: Request) -> Route:
        """Return the route of a request; that of an unknown host or path answers 421 or 404."""
        try:
            self._hosts.check(request)
        except RequestError as error:
            return _refusal(error)
        if (found := self._literal.get(request.path)) is not None:
            resource, routes = found
            return routes.get(request.method) or self._without_method(request, resource)
        for pattern, resource, routes in self._templates:
            if (match := pattern.fullmatch(request.path)) is not None:
                parameters = match.groupdict()
                if "%" in request.path:
                    try:
                        for name, segment in parameters.items():
                            parameters[name] = decode_segment(segment)
                    except RequestError as error:
                        return _refusal(error)
                request.path_parameters = parameters
                return routes.get(request.method) or self._without_method(request, resource)
        if request.path == self._server.path:
            return Route(self._options(self._server.allowed))
        return _refusal(RequestError(404, f"{request.path:.200}: there is no such resource"))

    def _without_method(self, request: Request, resource: Resource) -> Route:
        if request.method == "OPTIONS":
            return Route(self._options(resource.allowed))
        return _refusal(
            RequestError(
                405,
                f"{request.method}: expected one of {resource.allowed.decode()}",
                ((b"Allow", resource.allowed),),
            )
        )

    def _options(self, allowed: bytes) -> Handler:
        def answer(request: Request) -> Response:
            preflight = self._cors.preflight_headers(request, allowed)
            return Response(204, ((b"Allow", allowed), *preflight))

        return answer

    def response_headers(self, request: Request | None) -> Headers:
        """Return the headers of every response to a request; None if its head was not read."""
        if request is None:
            return self._general_headers
        return (*self._general_headers, *request.rate_limit, *self._cors.headers_of(request))


def _routes(resource: Resource, guard_of: Callable[[str, str], Guard | None]) -> dict[str, Route]:
    """Return the routes of a resource by method."""
    routes = {
        method: Route(
            _guarded(handler, guard_of(method, resource.path)),
            resource.max_content_bytes,
            resource.has_reserve,
        )
        for method, handler in resource.handlers.items()
    }
    if "GET" in routes:
        routes.setdefault("HEAD", routes["GET"])
    return routes


def _refusal(error: RequestError) -> Route:
    def refuse(request: Request) -> Response:
        raise error

    return Route(refuse)


def _guarded(handler: Handler, guard: Guard | None) -> Handler:
    """Return a handler that is called when the guard has admitted the request."""
    if guard is None:
        return handler

    def handle(request: Request) -> Answer | Awaitable[Answer]:
        refusal = guard(request)
        if refusal is None:
            return handler(request)
        if isinstance(refusal, Response):
            return refusal
        return _answer_when(refusal, request, handler)

    return handle


async def _answer_when(
    guarded: Awaitable[Response | None], request: Request, handler: Handler
) -> Answer:
    refusal = await guarded
    if refusal is not None:
        return refusal
    answer = handler(request)
    return await answer if inspect.isawaitable(answer) else answer

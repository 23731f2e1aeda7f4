"""Which route answers a request, and what all of them have in common."""

import asyncio
import inspect

import pytest

from sse_node.errors import RequestError
from sse_node.http.cors import Cors
from sse_node.http.hosts import AllowedHosts
from sse_node.http.router import Guard, Resource, Router
from sse_node.http.site import Answer
from sse_node.wire.http_head import Headers, Request, Response

APP = "https://app.example"
ANY_HOST = AllowedHosts(["*"])


def echo(request: Request) -> Response:
    parameters = ",".join(f"{key}={value}" for key, value in request.path_parameters.items())
    return Response(200, (), f"{request.method} {parameters}".encode())


async def echo_later(request: Request) -> Response:
    await asyncio.sleep(0)
    return echo(request)


class Upgraded:
    def open(self, transport: asyncio.Transport, headers: Headers) -> None:
        raise AssertionError("the router opens nothing")


UPGRADED = Upgraded()


def taken_over(request: Request) -> Answer:
    return UPGRADED


RESOURCES = [
    Resource("/a", {"GET": echo, "POST": echo_later}, 1000),
    Resource("/a/{id}", {"GET": echo, "DELETE": echo}),
    Resource("/a/all", {"PATCH": echo}),
    Resource("/a/{id}/b/{name}", {"PATCH": echo}),
    Resource("/stream", {"GET": taken_over}),
    Resource("/", {"GET": echo}),
]


def request_of(method: str, path: str, origin: str = "") -> Request:
    return Request(method, path, "", {b"origin": origin.encode()} if origin else {})


async def answer(method: str, path: str, *cors_origins: str, origin: str = "") -> Response:
    request = request_of(method, path, origin)
    given = Router(RESOURCES, Cors(cors_origins), ANY_HOST).find(request).handler(request)
    if inspect.isawaitable(given):
        given = await given
    assert isinstance(given, Response)
    return given


async def refusal(method: str, path: str) -> RequestError:
    with pytest.raises(RequestError) as caught:
        await answer(method, path)
    return caught.value


@pytest.mark.parametrize(
    ("method", "path", "content"),
    [
        ("GET", "/", b"GET "),
        ("GET", "/a", b"GET "),
        ("POST", "/a", b"POST "),
        ("HEAD", "/a", b"HEAD "),
        ("GET", "/a/7", b"GET id=7"),
        ("DELETE", "/a/7", b"DELETE id=7"),
        ("GET", "/a/a%20b%2Fc", b"GET id=a b/c"),
        ("PATCH", "/a/7/b/%C3%BC", b"PATCH id=7,name=\xc3\xbc"),
        ("PATCH", "/a/all", b"PATCH "),
        ("DELETE", "/a/al%6C", b"DELETE id=all"),
    ],
)
async def test_request_is_answered_by_its_resource(method: str, path: str, content: bytes) -> None:
    assert (await answer(method, path)).content == content


@pytest.mark.parametrize(
    "path", ["/b", "/a/", "/A", "/a/7/", "/a/7/b", "/a//b/x", "//a", "/a%2F7", "", "/aa", "/\n"]
)
async def test_there_is_no_such_resource(path: str) -> None:
    for method in ("GET", "OPTIONS", "BREW"):
        error = await refusal(method, path)
        assert error.status == 404
        assert error.detail == f"{path}: there is no such resource"
    assert len((await refusal("GET", "/x" * 5000)).detail) < 250


async def test_a_path_without_parameters_is_before_one_with_them() -> None:
    assert (await refusal("DELETE", "/a/all")).status == 405


async def test_segment_that_is_not_utf8_is_refused() -> None:
    for method in ("GET", "OPTIONS", "BREW"):
        error = await refusal(method, "/a/%ff")
        assert (error.status, error.detail) == (
            400,
            "request target: expected percent-encoded UTF-8",
        )


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/a", b"GET, HEAD, OPTIONS, POST"),
        ("get", "/a", b"GET, HEAD, OPTIONS, POST"),
        ("POST", "/a/7", b"DELETE, GET, HEAD, OPTIONS"),
        ("HEAD", "/a/7/b/x", b"OPTIONS, PATCH"),
    ],
)
async def test_method_that_a_resource_does_not_have(method: str, path: str, allowed: bytes) -> None:
    error = await refusal(method, path)
    assert error.status == 405
    assert error.detail == f"{method}: expected one of {allowed.decode()}"
    assert error.headers == ((b"Allow", allowed),)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/a", b"GET, HEAD, OPTIONS, POST"),
        ("/a/7", b"DELETE, GET, HEAD, OPTIONS"),
        ("/a/7/b/x", b"OPTIONS, PATCH"),
        ("*", b"DELETE, GET, HEAD, OPTIONS, PATCH, POST"),
    ],
)
async def test_options_names_the_methods(path: str, allowed: bytes) -> None:
    response = await answer("OPTIONS", path)
    assert (response.status, response.content) == (204, b"")
    assert list(response.headers) == [(b"Allow", allowed)]


@pytest.mark.parametrize(("path", "most"), [("/a", 1000), ("/a/7", 65536), ("/nowhere", 65536)])
def test_route_says_how_much_content_it_takes(path: str, most: int) -> None:
    assert (
        Router(RESOURCES, Cors(()), ANY_HOST).find(request_of("GET", path)).max_content_bytes
        == most
    )


def test_stream_takes_over_in_the_same_step() -> None:
    request = request_of("GET", "/stream")
    assert Router(RESOURCES, Cors(()), ANY_HOST).find(request).handler(request) is UPGRADED


# Pages of other origins: the headers themselves are tests/http/test_cors.py's


async def test_options_of_an_allowed_origin_is_a_preflight() -> None:
    response = await answer("OPTIONS", "/a/7", APP, origin=APP)
    assert dict(response.headers)[b"Access-Control-Allow-Methods"] == b"DELETE, GET, HEAD, OPTIONS"
    response = await answer("OPTIONS", "/a/7", APP, origin="https://evil.example")
    assert list(response.headers) == [(b"Allow", b"DELETE, GET, HEAD, OPTIONS")]


def test_every_response_has_the_headers_of_its_origin() -> None:
    general = ((b"Server", b"sse-node"),)
    router = Router(RESOURCES, Cors((APP,)), ANY_HOST, general)
    headers = router.response_headers(request_of("GET", "/a", APP))
    assert headers[:1] == general
    assert (b"Access-Control-Allow-Origin", APP.encode()) in headers
    assert router.response_headers(None) == general


@pytest.mark.parametrize("method", ["GET", "OPTIONS", "BREW"])
@pytest.mark.parametrize("path", ["/a", "/nowhere", "*"])
def test_every_request_for_another_host_is_misdirected(method: str, path: str) -> None:
    request = Request(method, path, "", {b"host": b"evil.example"})
    route = Router(RESOURCES, Cors(()), AllowedHosts(())).find(request)
    with pytest.raises(RequestError, match=r"Host 'evil\.example': expected one of") as caught:
        route.handler(request)
    assert caught.value.status == 421


# Guards


async def none_later() -> None:
    await asyncio.sleep(0)


async def refusal_later() -> Response:
    await asyncio.sleep(0)
    return Response(429)


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("guard", "status"),
    [
        (lambda request: None, 200),
        (lambda request: Response(429), 429),
        (lambda request: none_later(), 200),
        (lambda request: refusal_later(), 429),
    ],
    ids=["admitted", "refused", "admitted later", "refused later"],
)
async def test_a_handler_answers_what_its_guard_admits(
    guard: Guard, status: int, method: str
) -> None:
    router = Router(RESOURCES, Cors(()), ANY_HOST, guard_of=lambda method, path: guard)
    request = request_of(method, "/a")
    answer = router.find(request).handler(request)
    response = await answer if inspect.isawaitable(answer) else answer
    assert isinstance(response, Response)
    assert response.status == status


def test_what_is_left_of_a_limit_is_in_every_response() -> None:
    request = request_of("GET", "/a")
    request.rate_limit = ((b"RateLimit", b'"requests";r=1'),)
    general = ((b"Server", b"sse-node"),)
    headers = Router(RESOURCES, Cors(()), ANY_HOST, general).response_headers(request)
    assert headers == (*general, (b"RateLimit", b'"requests";r=1'))

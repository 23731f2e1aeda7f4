"""Changes that a page asks for with the user's cookie."""

import pytest

from sse_node.access.origins import check_origin
from sse_node.errors import RequestError
from sse_node.wire.http_head import Request

ALLOWED = ("https://app.example",)


def request_of(method: str = "POST", **headers: str) -> Request:
    fields = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return Request(method, "/accounts", "", fields)


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(request_of("GET"), id="GET"),
        pytest.param(request_of("HEAD", origin="https://evil.example"), id="HEAD"),
        pytest.param(request_of(sec_fetch_site="same-origin"), id="same origin"),
        pytest.param(request_of(origin="https://app.example"), id="a listed origin"),
        pytest.param(
            request_of(origin="https://app.example", sec_fetch_site="cross-site"), id="cross site"
        ),
        pytest.param(request_of(origin="http://node:3000", host="node:3000"), id="own host"),
    ],
)
def test_pages_of_ours_may_change_something(request_: Request) -> None:
    check_origin(request_, ALLOWED)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="neither header"),
        pytest.param({"origin": "https://evil.example"}, id="another origin"),
        pytest.param({"origin": "null"}, id="null"),
        pytest.param({"origin": ""}, id="empty origin"),
        pytest.param({"origin": "", "host": ""}, id="empty origin and host"),
        pytest.param({"origin": "null", "host": ""}, id="null and an empty host"),
        pytest.param({"origin": "node", "host": "node"}, id="origin without a scheme"),
        pytest.param({"origin": "https://app.example.evil.example"}, id="suffix"),
        pytest.param({"origin": "http://app.example"}, id="another scheme"),
        pytest.param({"origin": "https://node", "host": "node:3000"}, id="another port"),
        pytest.param({"sec_fetch_site": "same-site"}, id="same site"),
        pytest.param({"sec_fetch_site": "none"}, id="no site"),
        pytest.param({"sec_fetch_site": "same-origin, x"}, id="two values"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE", "PUT"])
def test_pages_of_others_may_not(method: str, headers: dict[str, str]) -> None:
    with pytest.raises(RequestError) as caught:
        check_origin(request_of(method, **{"host": "node", **headers}), ALLOWED)
    assert caught.value.status == 403

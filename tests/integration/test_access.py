"""Who may do what, against real nodes: every route with every kind of credential."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from bench.harness import NodeProcess, RedisProcess
from sse_node.access.api_keys import new_key
from sse_node.access.rules import RULES, Requirement
from tests.support.tokens import SECRET, Signer, hmac_token, key_set, raw_token, signer

if TYPE_CHECKING:
    from collections.abc import Iterator

ALGORITHMS = ("HS256", "RS256", "ES256", "EdDSA")
GOOD = {"aud": "node", "iss": "issuer", "publish": ["user:self"], "channels": ["analytics-events"]}
PAYLOAD = "payload-that-no-log-has"
R = Requirement


# The node, its keys and its clients


RIGHTS = {
    R.READ: "read:accounts",
    R.WRITE: "write:accounts",
    R.WEBHOOKS: "webhooks",
    R.PUBLISH: "publish:user:*",
    R.OBSERVE: "observe",
    R.REVOKE: "revoke",
}
KEYS = {right: new_key("strong", right) for right in RIGHTS.values()}
WEAK = new_key("weak", "publish:news")


@dataclass
class Answer:
    """One response; of a stream only the head."""

    status: int
    headers: dict[str, str]
    content: str


def ask(
    url: str,
    method: str,
    target: str,
    headers: dict[str, str] | None = None,
    content: Any = None,  # noqa: ANN401
) -> Answer:
    """Ask a node at `http://…` or `unix:…`, on a connection of its own."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    fields = dict(headers or {})
    body = None
    if content is not None:
        fields["Content-Type"], body = "application/json", json.dumps(content)
    try:
        connection.request(method, target, body, fields)
        response = connection.getresponse()
        names = {name.lower(): value for name, value in response.getheaders()}
        is_stream = response.status == 200 and "content-length" not in names
        text = "" if is_stream else response.read().decode()
        return Answer(response.status, names, text)
    finally:
        connection.close()


def bearer(credential: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {credential}"}


@pytest.fixture(scope="module")
def node(redis: RedisProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """A node with tokens and keys of each kind, which logs all that it can."""
    directory = tmp_path_factory.mktemp("access")
    (directory / "jwks").write_bytes(key_set(*(signer(each, each).jwk() for each in ALGORITHMS)))
    lines = [line for _, line in (*KEYS.values(), WEAK)]
    (directory / "keys").write_text("\n".join(lines))
    flags = (
        *("--auth", "jwt", "--jwt-key", str(directory / "jwks"), "--namespace", "access"),
        *("--jwt-audience", "node", "--jwt-issuer", "issuer", "--auth-cookie", "session"),
        *("--auth-query", "yes", "--api-keys", str(directory / "keys"), "--log-level", "debug"),
        *("--webhooks-per-user", "100000"),
    )
    with NodeProcess("--redis-url", redis.url, "--server-id", "node-1", *flags) as process:
        process.wait_ready()
        for content in ({"user": "revoked-user"}, {"jti": "revoked-jti"}):
            answer = ask(process.url, "POST", "/revocations", key_for(R.REVOKE), content)
            assert answer.status == 200
        yield process


def key_for(requirement: Requirement) -> dict[str, str]:
    return bearer(KEYS[RIGHTS[requirement]][0])


# The table: routes


@dataclass(frozen=True)
class Row:
    """How a route is asked for something of a user, and what a caller that may is answered."""

    target: str
    status: int
    content: dict[str, Any] | None = None
    """USER stands for the user."""


WEBHOOK = {"userId": "USER", "url": "https://8.8.8.8/hook", "events": [PAYLOAD]}
ROWS: dict[tuple[str, str], Row] = {
    ("GET", "/"): Row("/", 200),
    ("GET", "/docs/api"): Row("/docs/api", 200),
    ("GET", "/openapi.json"): Row("/openapi.json", 200),
    ("GET", "/asyncapi.json"): Row("/asyncapi.json", 200),
    ("GET", "/health"): Row("/health", 200),
    ("GET", "/health/live"): Row("/health/live", 200),
    ("GET", "/health/ready"): Row("/health/ready", 200),
    ("GET", "/events/sse"): Row("/events/sse?channels=analytics-events", 200),
    ("GET", "/events/sse/{userId}"): Row("/events/sse/USER", 200),
    ("GET", "/events"): Row("/events?userId=USER", 200),
    ("POST", "/events"): Row("/events", 202, {"userId": "USER", "eventType": "t", "data": PAYLOAD}),
    ("GET", "/accounts"): Row("/accounts?userId=USER", 200),
    ("POST", "/accounts"): Row("/accounts", 201, {"userId": "USER", "name": PAYLOAD, "balance": 1}),
    ("GET", "/accounts/{id}"): Row("/accounts/ID", 200),
    ("PATCH", "/accounts/{id}"): Row("/accounts/ID", 200, {"name": PAYLOAD}),
    ("DELETE", "/accounts/{id}"): Row("/accounts/ID", 204),
    ("GET", "/accounts/{id}/events"): Row("/accounts/ID/events", 200),
    ("GET", "/snapshots"): Row("/snapshots?userId=USER", 200),
    ("GET", "/webhooks"): Row("/webhooks?userId=USER", 200),
    ("POST", "/webhooks"): Row("/webhooks", 201, WEBHOOK),
    ("POST", "/webhooks/register"): Row("/webhooks/register", 201, WEBHOOK),
    ("GET", "/webhooks/{id}"): Row("/webhooks/HOOK", 200),
    ("PATCH", "/webhooks/{id}"): Row("/webhooks/HOOK", 200, {"enabled": True}),
    ("DELETE", "/webhooks/{id}"): Row("/webhooks/HOOK", 204),
    ("POST", "/webhooks/{id}/test"): Row("/webhooks/HOOK/test", 202),
    ("GET", "/webhooks/{id}/deliveries"): Row("/webhooks/HOOK/deliveries", 200),
    ("GET", "/webhooks/{id}/dead-letters"): Row("/webhooks/HOOK/dead-letters", 200),
    ("POST", "/webhooks/{id}/dead-letters/replay"): Row("/webhooks/HOOK/dead-letters/replay", 202),
    ("GET", "/status"): Row("/status", 200),
    ("GET", "/metrics"): Row("/metrics", 200),
    ("POST", "/revocations"): Row("/revocations", 200, {"user": "somebody"}),
}
ROUTES = [pytest.param(*route, id=" ".join(route)) for route in RULES]


def send(node: NodeProcess, route: tuple[str, str], headers: dict[str, str]) -> Answer:
    """Ask a route for something of ann's; `query` among the headers is the query's."""
    row = ROWS[route]
    target = row.target.replace("USER", "ann")
    content = json.loads(json.dumps(row.content).replace("USER", "ann"))
    if "ID" in target:
        new = {"userId": "ann", "name": "a", "balance": 1}
        made = ask(node.url, "POST", "/accounts", key_for(R.WRITE), new)
        assert made.status == 201
        target = target.replace("ID", str(json.loads(made.content)["id"]))
    if "HOOK" in target:
        target = target.replace("HOOK", hook_of_ann(node))
    headers = dict(headers)
    if token := headers.pop("query", ""):
        target += f"{'&' if '?' in target else '?'}access_token={token}"
    return ask(node.url, route[0], target, headers, content)


def hook_of_ann(node: NodeProcess) -> str:
    """Return the id of a new webhook."""
    new = {"userId": "ann", "url": "https://8.8.8.8/hook", "events": ["t"]}
    made = ask(node.url, "POST", "/webhooks", key_for(R.WEBHOOKS), new)
    assert made.status == 201
    webhook_id: str = json.loads(made.content)["id"]
    return webhook_id


# The table: credentials


def token(algorithm: str = "HS256", user: str = "ann", **more: Any) -> str:  # noqa: ANN401
    return signer(algorithm, algorithm).token(user, **{**GOOD, **more})


def claims() -> dict[str, Any]:
    return {"sub": "ann", "exp": int(time.time()) + 60, **GOOD}


def forged(algorithm: str) -> str:
    """Return a token with the right kid and the signature of another key."""
    if algorithm == "HS256":
        return hmac_token(b"x" * 64, {"alg": "HS256", "kid": "HS256"}, claims())
    other = signer(algorithm, f"other {algorithm}")
    return Signer(algorithm, other.key, algorithm).token("ann", **GOOD)  # type: ignore[arg-type]


def hs256(**header: object) -> str:
    return hmac_token(SECRET, {"alg": "HS256", **header}, claims())


def bearer_of(algorithm: str) -> dict[str, str]:
    return bearer(token(algorithm))


def bearer_forged(algorithm: str) -> dict[str, str]:
    return bearer(forged(algorithm))


Make = Callable[[], dict[str, str]]
REJECTED: dict[str, Make] = {
    "no credential": dict,
    "expired": lambda: bearer(token(expires_in_s=-31)),
    "not yet valid": lambda: bearer(token(nbf=int(time.time()) + 60)),
    "without exp": lambda: bearer(token(exp=...)),
    **{f"wrong signature {each}": partial(bearer_forged, each) for each in ALGORITHMS},
    "alg none": lambda: bearer(raw_token({"alg": "none"}, claims())),
    "alg none with a kid": lambda: bearer(raw_token({"alg": "none", "kid": "HS256"}, claims())),
    "RS256 key as HMAC secret": lambda: bearer(
        hmac_token(signer("RS256", "RS256").file(), {"alg": "HS256", "kid": "RS256"}, claims())
    ),
    "unknown kid": lambda: bearer(hs256(kid="other")),
    "kid like a path": lambda: bearer(hs256(kid="../../../../dev/null")),
    "very long kid": lambda: bearer(hs256(kid="k" * 4000)),
    "kid that is a number": lambda: bearer(hs256(kid=1)),
    "kid in a list": lambda: bearer(hs256(kid=["HS256"])),
    "other audience": lambda: bearer(token(aud="other")),
    "no audience": lambda: bearer(token(aud=...)),
    "other issuer": lambda: bearer(token(iss="other")),
    "revoked user": lambda: bearer(token(user="revoked-user")),
    "revoked jti": lambda: bearer(token(jti="revoked-jti")),
    "longer than 8 KiB": lambda: bearer(token(pad="x" * 7000)),
    "unknown key": lambda: bearer(new_key("unknown", "observe")[0]),
    "key in the cookie": lambda: {
        "Cookie": f"session={KEYS['observe'][0]}",
        "Sec-Fetch-Site": "same-origin",
    },
}
MALFORMED: dict[str, Make] = {
    "header and cookie": lambda: {**bearer(token()), "Cookie": f"session={token()}"},
    "header and query": lambda: {**bearer(token()), "query": token()},
    "token and key": lambda: {**bearer(token()), "query": KEYS["observe"][0]},
    "two cookies": lambda: {"Cookie": f"session={token()}; session={token()}"},
    "two in one header": lambda: {"Authorization": f"Bearer {token()}, Bearer {token()}"},
    "Basic": lambda: {"Authorization": "Basic YW5uOnNlY3JldA=="},
}
VALID: dict[str, Make] = {
    **{f"valid {each}": partial(bearer_of, each) for each in ALGORITHMS},
    "valid without kid": lambda: bearer(hs256()),
    "valid in the cookie": lambda: {
        "Cookie": f"a=1; session={token()}", "Sec-Fetch-Site": "same-origin"
    },
    "valid in the query": lambda: {"query": token()},
    "expired within the leeway": lambda: bearer(token(expires_in_s=-5)),
}  # fmt: skip
OTHERS: dict[str, Make] = {
    "other user": lambda: bearer(token(user="bob")),
    "user in capitals": lambda: bearer(token(user="ANN")),
    "user with a dot": lambda: bearer(token(user="ann.")),
    "key without the right": lambda: bearer(WEAK[0]),
}
CREDENTIALS = {**REJECTED, **MALFORMED, **VALID, **OTHERS}


def expected_status(route: tuple[str, str], name: str) -> int:
    """Return what a credential is answered at a route, when it asks for something of ann's."""
    requirement = RULES[route]
    if requirement is R.NOTHING:
        return ROWS[route].status
    if name in REJECTED:
        return 401
    if name in MALFORMED:
        return 400
    if name in VALID:
        if requirement is R.OWN_STREAM and "leeway" in name:
            return 401
        return 403 if requirement in {R.OBSERVE, R.REVOKE} else ROWS[route].status
    is_own = route == ("GET", "/events/sse") and "user" in name  # bob's own stream
    return ROWS[route].status if is_own else 403


def check(answer: Answer, expected: int) -> None:
    assert answer.status == expected, answer
    assert (expected == 401) <= ("www-authenticate" in answer.headers), answer
    if expected >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["cache-control"] == "no-store"


def test_the_table_has_every_route() -> None:
    assert set(ROWS) == set(RULES)
    assert set(RIGHTS) == set(Requirement) - {R.NOTHING, R.OWN_STREAM}


@pytest.mark.parametrize("credential", list(CREDENTIALS))
@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_each_route_with_each_credential(
    node: NodeProcess, method: str, path: str, credential: str
) -> None:
    answer = send(node, (method, path), CREDENTIALS[credential]())
    check(answer, expected_status((method, path), credential))


@pytest.mark.parametrize("right", list(KEYS))
@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_each_route_with_the_key_of_each_right(
    node: NodeProcess, method: str, path: str, right: str
) -> None:
    requirement = RULES[method, path]
    expected = 403
    if requirement is R.NOTHING or RIGHTS.get(requirement) == right:
        expected = ROWS[method, path].status
    check(send(node, (method, path), bearer(KEYS[right][0])), expected)


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_head_requires_what_get_does(node: NodeProcess, method: str, path: str) -> None:
    if method != "GET":
        return
    target = (
        ROWS[method, path].target.replace("USER", "ann").replace("ID", "1").replace("HOOK", "1")
    )
    expected = 200 if RULES[method, path] is R.NOTHING else 401
    assert ask(node.url, "HEAD", target).status == expected
    assert ask(node.url, "OPTIONS", target).status == 204


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_an_account_that_is_not_there_is_as_one_of_another(node: NodeProcess, method: str) -> None:
    content = {"name": "x"} if method == "PATCH" else None
    new = {"userId": "ann", "name": "a", "balance": 1}
    made = ask(node.url, "POST", "/accounts", key_for(R.WRITE), new)
    there = f"/accounts/{json.loads(made.content)['id']}"
    answers = [ask(node.url, method, each, bearer(token(user="bob")), content)
               for each in ("/accounts/999999", there)]  # fmt: skip
    assert answers[0].status == answers[1].status == 403
    assert answers[0].content == answers[1].content


def test_a_change_by_cookie_needs_a_page_of_ours(node: NodeProcess) -> None:
    content = {"name": "a", "balance": 1}
    cookie = {"Cookie": f"session={token()}"}
    for headers, status in (
        ({}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 201),
        ({"Origin": node.url}, 201),
    ):
        answer = ask(node.url, "POST", "/accounts", {**cookie, **headers}, content)
        assert answer.status == status, headers
    assert ask(node.url, "GET", "/accounts", cookie).status == 200


def test_what_a_request_names_decides_not_how_it_is_written(node: NodeProcess) -> None:
    one = bearer(token(user="1"))
    for target, status in (
        ("/events/sse/1", 200),
        ("/events/sse/%31", 200),
        ("/events/sse/01", 403),
        ("/events/sse/1.", 403),
        ("/accounts?userId=%31", 200),
        ("/accounts?userId=01", 403),
        ("/accounts?userId=2&userId=1", 400),
        ("/accounts?userId=1&userId=2", 400),
        ("/snapshots?userId=1.", 403),
    ):
        assert ask(node.url, "GET", target, one).status == status, target
    assert ask(node.url, "GET", "/events/sse/%2531", one).status in {400, 403}


def test_an_idempotency_key_is_that_of_its_caller(node: NodeProcess) -> None:
    key = {"Idempotency-Key": "the-same"}
    names: dict[int, tuple[str, str]] = {}
    for user in ("ann", "bob"):
        for _ in range(2):
            content = {"name": f"of {user}", "balance": 1}
            answer = ask(
                node.url, "POST", "/accounts", {**bearer(token(user=user)), **key}, content
            )
            assert answer.status == 201
            account = json.loads(answer.content)
            names.setdefault(account["id"], (account["userId"], account["name"]))
    assert sorted(names.values()) == [("ann", "of ann"), ("bob", "of bob")]


def test_an_array_of_events_is_published_all_or_not_at_all(node: NodeProcess) -> None:
    events = [{"userId": user, "eventType": "t", "data": 1} for user in ("ann", "bob")]
    assert ask(node.url, "POST", "/events", bearer(token()), events).status == 403
    assert ask(node.url, "POST", "/events", key_for(R.PUBLISH), events).status == 202
    broadcast = {"channel": "system-events", "eventType": "t", "data": 1}
    assert ask(node.url, "POST", "/events", bearer(token()), broadcast).status == 403
    assert ask(node.url, "POST", "/events", key_for(R.PUBLISH), broadcast).status == 403


def test_health_shows_less_to_the_public(node: NodeProcess) -> None:
    health = json.loads(ask(node.url, "GET", "/health").content)
    assert set(health) == {"status", "serverId", "warnings"}


def test_nothing_secret_is_in_the_log_or_in_an_error(node: NodeProcess) -> None:
    secrets = {SECRET.decode(), PAYLOAD, "access_token=", "session="}
    secrets |= {key for key, _ in (*KEYS.values(), WEAK)}
    errors = []
    for route in RULES:
        for make in CREDENTIALS.values():
            headers = make()
            answer = send(node, route, headers)
            errors += [answer.content] * (answer.status >= 400)
            for value in headers.values():
                secrets |= {word for word in value.replace("session=", "").split("; ")
                            if len(word) > 20}  # fmt: skip
                secrets |= {word for word in value.split() if len(word) > 30}
    for line in (*node.log, *errors):
        assert not [secret for secret in secrets if secret in line], line
        assert not [part for part in ("eyJ", "ssk_", "?userId", "Bearer ey") if part in line], line
    assert len(errors) > 200

"""Origins and hosts in the form in which browsers send them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sse_node.config.hosts import is_address, is_loopback, parse_hosts, parse_origins
from sse_node.errors import ConfigError

# What an operator may write, and what a browser sends; tests/integration/test_browsers.py asks one.
ORIGINS = {
    "https://app.example": "https://app.example",
    "HTTPS://App.Example": "https://app.example",
    "https://app.example:443": "https://app.example",
    "http://app.example:80": "http://app.example",
    "https://app.example:80": "https://app.example:80",
    "http://app.example:443": "http://app.example:443",
    "https://app.example:0443": "https://app.example",
    "https://app.example:08443": "https://app.example:8443",
    "https://app.example:": "https://app.example",
    "http://localhost:5173": "http://localhost:5173",
    "http://a_b.example": "http://a_b.example",
    "http://app.example.": "http://app.example.",
    "http://B\u00dcCHER.example": "http://xn--bcher-kva.example",
    "http://b\u00fccher.example:8080": "http://xn--bcher-kva.example:8080",
    "http://cafe\u0301.example": "http://xn--caf-dma.example",
    "https://xn--BCHER-KVA.example": "https://xn--bcher-kva.example",
    "http://\u4f8b\u3048\u3002jp": "http://xn--r8jz45g.jp",
    "http://127.0.0.1:3000": "http://127.0.0.1:3000",
    "http://[::1]:3000": "http://[::1]:3000",
    "http://[0:0:0:0:0:0:0:1]:80": "http://[::1]",
    "http://[2001:DB8::]": "http://[2001:db8::]",
    "http://[::ffff:10.0.0.1]": "http://[::ffff:a00:1]",
    "chrome-extension://abcdef": "chrome-extension://abcdef",
}

# What browsers cannot send, and what they would send otherwise than this codec knows.
IMPOSSIBLE = [
    "app.example",
    "app.example:443",
    "//app.example",
    "https://",
    "https:///",
    "https://app.example/",
    "https://app.example/path",
    "https://app.example?x",
    "https://app.example#x",
    "https://*.example",
    "https://*",
    "https://app.*",
    "**",
    "https://user@app.example",
    "https://user:secret@app.example",
    "https://app.example:65536",
    "https://app.example:x",
    "https://app.example:443:443",
    "https://app .example",
    "https://app%2eexample",
    "https://[::1",
    "https://[::x]",
    "https://[app.example]",
    "https://::1",
    "http://127.1",
    "http://0x7f.1",
    "http://256.1.1.1",
    "http://1.2.3.4.5",
    "http://10.0.0.01",
    "http://10.0.0.1.",
    "http://fa\u00df.example",
    "http://\u03b2\u03cc\u03bb\u03bf\u03c2.example",
    "http://\u1e9e.example",
    "http://" + "\u00fc" * 70 + ".example",
    "http://" + "a" * 254,
    "file:///index.html",
    "file://",
    "ws://app.example",
    "wss://app.example",
    "data://x",
    "NULL",
    "Null",
]


@pytest.mark.parametrize(("text", "origin"), ORIGINS.items())
def test_origin_as_browsers_send_it(text: str, origin: str) -> None:
    assert parse_origins("--cors-origin", text) == (origin,)
    assert parse_origins("--cors-origin", origin) == (origin,)


@pytest.mark.parametrize("text", IMPOSSIBLE)
def test_origin_that_can_never_match(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_origins("--cors-origin", f"https://app.example, {text}")
    assert str(caught.value).startswith(f"--cors-origin: {text!r} is not allowed; expected origins")


_HOSTS = st.one_of(
    st.text(max_size=30),
    st.text(st.sampled_from("aZ.-_*:/[]019xf%@ \u00fc\u3002\uff0e"), max_size=12),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda address: f"[{address}]"),
)


@given(st.sampled_from(["", "http://", "HTTPS://", "ws://"]), _HOSTS, st.sampled_from(["", ":80"]))
def test_every_origin_has_one_form_or_none(scheme: str, host: str, port: str) -> None:
    for parse in (parse_origins, parse_hosts):
        try:
            values = parse("--setting", scheme + host + port)
        except ConfigError:
            continue
        text = ",".join(values)
        assert parse("--setting", text) == values
        assert text.isascii()
        assert text == text.lower()


def test_origins_are_a_list() -> None:
    text = " https://a.example ,, null,*,https://A.example:443"
    assert parse_origins("--cors-origin", text) == ("https://a.example", "null", "*")
    assert parse_origins("--cors-origin", " , ") == ()


def test_hosts_are_a_list_in_the_form_of_browsers() -> None:
    text = "App.Example, .b\u00fccher.example,, 10.0.0.7, 2001:DB8::7, [2001:db8::7],*"
    assert parse_hosts("--allowed-hosts", text) == (
        "app.example",
        ".xn--bcher-kva.example",
        "10.0.0.7",
        "[2001:db8::7]",
        "*",
    )
    assert parse_hosts("--allowed-hosts", "") == ()


@pytest.mark.parametrize(
    "text",
    ["https://app.example", "app.example:80", "app.example/", "*.example", "a b", "u@app.example",
     ".", "..example", ".10.0.0.7", ".*", "127.1", "[::1]:80", "fa\u00df.example"],
)  # fmt: skip
def test_host_that_no_browser_sends(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_hosts("--allowed-hosts", f"app.example,{text}")
    assert str(caught.value).startswith(f"--allowed-hosts: {text!r} is not allowed; expected hosts")


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost.", "app.localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]",
     "::ffff:127.0.0.1", "[::ffff:7f00:1]"],
)  # fmt: skip
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    ["", "0.0.0.0", "::", "10.0.0.1", "127.0.0.1.example", "localhost.example", "notlocalhost",
     "::ffff:10.0.0.1", "127.1", "app.example"],
)  # fmt: skip
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)


def test_address() -> None:
    assert is_address("10.0.0.1")
    assert is_address("[2001:db8::1]")
    assert not is_address("app.example")

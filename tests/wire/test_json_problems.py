"""What a client is told about its JSON: no name of a parser or a programming language."""

import json
from typing import Annotated

import msgspec
import pytest

from sse_node.wire.json_problems import describe_byte, describe_shape, describe_syntax


class Inner(msgspec.Struct):
    sizes: Annotated[list[float], msgspec.Meta(max_length=2)]


class Outer(msgspec.Struct):
    inner: list[Inner]
    flag: bool | None = None
    name: Annotated[str, msgspec.Meta(max_length=3)] = ""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[]", "expected an object, got an array"),
        (b"{}", "inner is missing"),
        (b'{"inner":[{}]}', "inner[0].sizes is missing"),
        (b'{"inner":{}}', "inner: expected an array, got an object"),
        (b'{"inner":[{"sizes":[1,"2"]}]}', "inner[0].sizes[1]: expected a number, got a string"),
        (
            b'{"inner":[{"sizes":[1,2,3]}]}',
            "inner[0].sizes: expected an array with a length of at most 2",
        ),
        (b'{"inner":[],"flag":1}', "flag: expected true or false or null, got a number"),
        (b'{"inner":[],"name":"long"}', "name: expected a string with a length of at most 3"),
    ],
)
def test_shape(content: bytes, said: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.json.decode(content, type=Outer)
    assert describe_shape(str(caught.value)) == said


def test_message_that_is_new_is_passed_on() -> None:
    assert describe_shape("Something `odd` - at `$.a`") == "a: Something 'odd'"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it is empty"),
        (" \n", "it is empty"),
        ('{"a":1', "it ends too early"),
        ("[1,", "it ends too early"),
        ('{"a":1,}', "wrong from line 1, column 8"),
        ('{\n "a" 1}', "wrong from line 2, column 6"),
        ('{"a":tru}', "wrong from line 1, column 6"),
        ("\ufeff{}", "it begins with a byte order mark (BOM)"),
    ],
)
def test_syntax(text: str, said: str) -> None:
    with pytest.raises(json.JSONDecodeError) as caught:
        json.loads(text)
    assert describe_syntax(text, caught.value.pos) == said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[NaN]", "wrong at byte 1"),
        (b'["\\udfff"]', "a surrogate without the other one at byte 8"),
        (b"[", "wrong"),
    ],
)
def test_byte(content: bytes, said: str) -> None:
    with pytest.raises(msgspec.DecodeError) as caught:
        msgspec.json.decode(content)
    assert describe_byte(str(caught.value)) == said

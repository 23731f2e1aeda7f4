"""What is wrong with JSON, in the words of JSON: parsers' messages name Python's types."""

import re
from typing import Final

_TYPES: Final = {
    "str": "a string",
    "int": "a number",
    "float": "a number",
    "bool": "true or false",
    "null": "null",
    "object": "an object",
    "array": "an array",
}
_WITH_PATH = re.compile(r"(?P<what>.*?)(?: - at `\$\.?(?P<path>.*)`)?", re.DOTALL)
_TYPE = re.compile(r"Expected `(?P<expected>[^`]+)`, got `(?P<got>[^`]+)`")
_LENGTH = re.compile(r"Expected `(?P<kind>str|array)` of length (?P<bound>>=|<=) (?P<length>\d+)")
_MISSING = re.compile(r"Object missing required field `(?P<name>[^`]+)`")
_BYTE = re.compile(r"\(byte (\d+)\)")
_BYTE_ORDER_MARK = "\ufeff"


def describe_shape(message: str) -> str:
    """Return msgspec's message about JSON of another shape, with the member's path in front."""
    match = _WITH_PATH.fullmatch(message)
    assert match is not None
    what, path = match["what"], match["path"] or ""
    if (missing := _MISSING.fullmatch(what)) is not None:
        return f"{path}.{missing['name']} is missing".removeprefix(".")
    return f"{path}: {_expectation(what)}" if path else _expectation(what)


def _expectation(what: str) -> str:
    if (types := _TYPE.fullmatch(what)) is not None:
        return f"expected {_names(types['expected'])}, got {_names(types['got'])}"
    if (length := _LENGTH.fullmatch(what)) is not None:
        bound = "at least" if length["bound"] == ">=" else "at most"
        return f"expected {_TYPES[length['kind']]} with a length of {bound} {length['length']}"
    if what.endswith("out of range"):
        return "the number is out of range"
    return what.replace("`", "'")


def _names(types: str) -> str:
    return " or ".join(dict.fromkeys(_TYPES.get(name, name) for name in types.split(" | ")))


def describe_syntax(text: str, position: int) -> str:
    """Return what is wrong with text that is not JSON from a character on."""
    if not text.strip():
        return "it is empty"
    if text.startswith(_BYTE_ORDER_MARK):
        return "it begins with a byte order mark (BOM)"
    if position >= len(text):
        return "it ends too early"
    line = text.count("\n", 0, position) + 1
    return f"wrong from line {line}, column {position - text.rfind(chr(10), 0, position)}"


def describe_byte(message: str) -> str:
    """Return msgspec's message about a byte of content that is not JSON."""
    byte = _BYTE.search(message)
    what = "a surrogate without the other one" if "surrogate" in message else "wrong"
    return f"{what} at byte {byte[1]}" if byte is not None else what

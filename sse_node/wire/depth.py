"""The depth of JSON: how many arrays and objects are inside each other.

One limit holds wherever an event comes in. Parsers have limits of their own, which vary with the
Python version and with the stack, so the same event could be delivered live and not in a replay.
"""

import re
from typing import Final

# Of an event's data and of a member of any other content. Arbitrary: System.Text.Json has 64 and
# serde_json 128 levels by default, Python's json some 990.
MAX_DEPTH: Final = 128

TOO_DEEP: Final = f"nested too deep; expected at most {MAX_DEPTH} levels of arrays and objects"

_BRACKETS: Final = b"[]{}"
_NO_BRACKETS: Final = bytes(set(range(256)) - set(_BRACKETS))
_NEITHER_BRACKETS_NOR_QUOTES: Final = bytes(set(_NO_BRACKETS) - set(b'"'))
_ALL_SQUARE: Final = bytes.maketrans(b"{}", b"[]")
# Most JSON has fewer levels and is measured in this many passes over its brackets. What is left has
# few runs of brackets, which are added up.
_PASSES: Final = 6
_OPENING_SQUARE: Final = ord("[")  # looked for three times as fast as bytes of length 1
_BYTES_OF_AN_OBJECT: Final = len('{"":}')
_RUNS: Final = re.compile(rb"(\[*)(\]+|\Z)")


def is_deeper(text: bytes, levels: int) -> bool:
    """Return whether JSON is nested deeper than `levels`.

    Text that is not JSON is at least as deep as a parser reads it until it finds the fault. Strings
    are only looked into where there are more than `levels` brackets; then it takes about as long as
    parsing.
    """
    if text.count(b"[") + text.count(b"{") <= levels:
        return False
    if b'\\"' in text:  # else no quote is escaped
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    text = text.translate(_ALL_SQUARE, _NEITHER_BRACKETS_NOR_QUOTES).replace(b'""', b"")
    brackets = b"".join(text.split(b'"')[::2])  # what is between the quotes left is in strings
    rest, passes = _without_innermost(brackets, _PASSES)
    depth = deepest = 0
    for opening, closing in _RUNS.findall(rest):
        depth += len(opening)
        deepest = max(deepest, depth)
        depth -= len(closing)
    return passes + deepest > levels


def seems_deeper(text: bytes, levels: int) -> bool:
    """Return whether JSON may be nested deeper than `levels`, at the speed of the per-event path.

    True is to be confirmed by `is_deeper`. It is False for deeper JSON only if that has brackets in
    its strings that hide its depth.
    """
    # `replace` finds single bytes by memchr; `count` looks at each one, three times as long.
    length = len(text)
    if _OPENING_SQUARE not in text:
        if length < _BYTES_OF_AN_OBJECT * levels or (
            length - len(text.replace(b"{", b"", levels)) < levels
        ):
            return False
    else:
        half = levels // 2  # deeper JSON has more brackets of one kind
        if (
            length - len(text.replace(b"[", b"", half)) < half
            and length - len(text.replace(b"{", b"", half)) < half
        ):
            return False
    brackets = text.translate(_ALL_SQUARE, _NO_BRACKETS)
    return bool(_without_innermost(brackets, min(levels, _PASSES))[0])


def _without_innermost(brackets: bytes, most: int) -> tuple[bytes, int]:
    """Return what is left after removing the innermost pairs up to `most` times, and the times."""
    passes = 0
    while passes < most and b"[]" in brackets:
        brackets = brackets.replace(b"[]", b"")
        passes += 1
    return brackets, passes

"""The depth of JSON: how many arrays and objects are inside each other.

One limit holds wherever an event comes in. Parsers have limits of their own, which vary with the
Python version and with the stack, so the same event could be delivered live and not in a replay.
"""

from itertools import accumulate
from typing import Final

# Of an event's data and of a member of any other content. Arbitrary: System.Text.Json has 64 and
# serde_json 128 levels by default, Python's json some 990.
MAX_DEPTH: Final = 128

TOO_DEEP: Final = f"nested too deep; expected at most {MAX_DEPTH} levels of arrays and objects"

_BRACKETS: Final = b"[]{}"
_NO_BRACKETS: Final = bytes(set(range(256)) - set(_BRACKETS))
_NEITHER_BRACKETS_NOR_QUOTES: Final = bytes(set(_NO_BRACKETS) - set(b'"'))
_ALL_SQUARE: Final = bytes.maketrans(b"{}", b"[]")
_OPENING_SQUARE: Final = ord("[")  # looked for three times as fast as bytes of length 1
_BYTES_OF_AN_OBJECT: Final = len('{"":}')
_STEPS: Final = bytes.maketrans(b"[]", b"\x01\xff")  # 1 and -1 as signed bytes
# A pass over a megabyte of nothing but brackets takes 10 ms; events are flat after one or two.
_PASSES: Final = 4


def is_deeper(text: bytes, levels: int) -> bool:
    """Return whether JSON is nested deeper than `levels`.

    Text that is not JSON is measured as a parser reads it until it finds the fault. Strings are
    only looked into where there are more than `levels` brackets; then it takes about as long as
    parsing.
    """
    if text.count(b"[") + text.count(b"{") <= levels:
        return False
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    text = text.translate(_ALL_SQUARE, _NEITHER_BRACKETS_NOR_QUOTES).replace(b'""', b"")
    brackets = b"".join(text.split(b'"')[::2])  # what is between the quotes left is in strings
    return max(accumulate(memoryview(brackets.translate(_STEPS)).cast("b")), default=0) > levels


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
    return not _is_levelled(text.translate(_ALL_SQUARE, _NO_BRACKETS), min(levels, _PASSES))


def _is_levelled(brackets: bytes, levels: int) -> bool:
    """Return whether nothing is left after removing the innermost pairs `levels` times."""
    for _ in range(levels):
        brackets = brackets.replace(b"[]", b"")
        if not brackets:
            return True
    return False

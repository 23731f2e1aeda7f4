"""Strict JSON (RFC 8259) in request content: what a lenient parser lets through is refused."""

import json
from collections import Counter
from typing import Any, Final, TypeVar

import msgspec

from sse_node.errors import RequestError
from sse_node.wire.depth import MAX_DEPTH, TOO_DEEP, is_deeper
from sse_node.wire.http_head import Request
from sse_node.wire.json_problems import describe_byte, describe_shape, describe_syntax

T = TypeVar("T")

_JSON: Final = "application/json"
# Values and the names of members. Parsing holds the event loop for 0.2 us each at worst (members
# of one object, measured): 8 ms.
MAX_VALUES: Final = 40_000


class _Constant(str):
    """NaN, Infinity or -Infinity: what Python takes for a number and JSON does not have."""

    __slots__ = ()


class _StrictParser:
    """Parses one content with Python's parser, for what it must not contain.

    Args:
        text: the content.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._may_have_constants = "NaN" in text or "Infinity" in text

    def check(self) -> None:
        """Raise what is wrong with the text.

        Raises:
            RequestError: 400, a member stands twice, or is no number of JSON.
            ValueError: it is not JSON.
            RecursionError: it is nested too deep.
        """
        json.loads(
            self._text,
            parse_constant=_Constant,
            # Of any length, as in JSON; only the decoder wants numbers.
            parse_int=str,
            parse_float=str,
            object_pairs_hook=self._check_members,
        )

    def _check_members(self, pairs: list[tuple[str, Any]]) -> int:
        """Check an object, all of whose members have been parsed; its value is not needed."""
        names = dict(pairs)
        if len(names) < len(pairs):
            twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
            raise RequestError(400, f"content: member {twice!r:.80} stands twice in an object")
        if self._may_have_constants:
            _check_constants(pairs)
        return 0


def _check_constants(pairs: list[tuple[str, Any]]) -> None:
    for name, member in pairs:
        values = [member]
        while values:
            value = values.pop()
            if isinstance(value, list):
                values += value
            elif isinstance(value, _Constant):
                raise RequestError(
                    400,
                    f"content: {value} in member {name!r:.80} is not JSON; "
                    "expected a finite number",
                )


def media_type_of(request: Request) -> str:
    """Return the media type of the content in small letters, empty without one."""
    return (request.header(b"content-type") or "").lower().partition(";")[0].strip()


def check_optional_content(request: Request) -> None:
    """Reject content that is not JSON, for a route that needs none.

    A form of another site can send content of other types, and nothing at all only by a script.

    Raises:
        RequestError: 415.
    """
    if request.content or request.header(b"content-type") is not None:
        _check_headers(request, _JSON)


def _check_headers(request: Request, expected: str) -> None:
    coding = request.header(b"content-encoding")
    if coding is not None and coding.lower() != "identity":
        raise RequestError(
            415,
            f"Content-Encoding {coding!r:.80}: expected none",
            ((b"Accept-Encoding", b"identity"),),
        )
    if media_type_of(request) != expected:
        raise RequestError(
            415,
            f"Content-Type {media_type_of(request)!r:.80}: expected {expected}",
            ((b"Accept", expected.encode()),),
        )
    for parameter in (request.header(b"content-type") or "").lower().split(";")[1:]:
        name, _, value = parameter.strip().partition("=")
        if name == "charset" and value.strip('"') not in {"utf-8", "utf8"}:
            raise RequestError(415, f"Content-Type charset {value!r:.40}: expected utf-8")


def _check_size(content: bytes) -> None:
    """Reject content with too many values and names before it is parsed, in linear time.

    Raises:
        RequestError: 413.
    """
    if _most_values(content) <= MAX_VALUES:
        return
    if b"\\" in content:
        content = content.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Without escaped quotes, every second piece is a string.
    if (
        content.count(b'"') > 2 * MAX_VALUES
        or _most_values(b"".join(content.split(b'"')[::2])) > MAX_VALUES
    ):
        raise RequestError(413, f"content: expected at most {MAX_VALUES} JSON values and names")


def _most_values(content: bytes) -> int:
    """Return how many values and names JSON has at most.

    It has one value, and one more value or name for each comma, colon and opening.
    """
    return 1 + sum(map(content.count, (b",", b":", b"[", b"{")))


def decode_content(
    request: Request,
    decoder: msgspec.json.Decoder[T],
    *,
    outer_levels: int = 1,
    media_type: str = _JSON,
) -> T:
    """Return the request's JSON content as the decoder's type.

    Args:
        request: whose content it is.
        decoder: of the type.
        outer_levels: levels of the content around the values that may be MAX_DEPTH levels deep.
        media_type: that the content must have.

    Raises:
        RequestError: 415 for another type or coding; 413 for too many values; 400 for content that
            is not strict JSON (not UTF-8, NaN, duplicate members, lone surrogates, nested too
            deep); 422 for JSON of another shape, with the member's name.
    """
    _check_headers(request, media_type)
    _check_size(request.content)
    if is_deeper(request.content, MAX_DEPTH + outer_levels):
        raise RequestError(400, f"content: {TOO_DEEP}")
    try:
        text = request.content.decode()
    except UnicodeDecodeError as exc:
        raise RequestError(400, f"content: byte {exc.start} is not UTF-8") from exc
    try:
        _StrictParser(text).check()
        return decoder.decode(request.content)
    except msgspec.ValidationError as exc:
        raise RequestError(422, f"content: {describe_shape(str(exc))}") from exc
    except json.JSONDecodeError as exc:
        what = describe_syntax(text, exc.pos)
        raise RequestError(400, f"content: expected JSON: {what}") from exc
    except msgspec.DecodeError as exc:
        raise RequestError(400, f"content: expected JSON: {describe_byte(str(exc))}") from exc

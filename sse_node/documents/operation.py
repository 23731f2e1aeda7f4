"""What the documents say about one method of one path."""

from dataclasses import dataclass, field
from typing import Any, Final

JSON: Final = "application/json"
STREAM: Final = "text/event-stream"
TEXT: Final = "text/plain"
HTML: Final = "text/html"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a request.

    Attributes:
        name: as it is sent.
        about: one sentence.
        schema: of its value, JSON Schema.
        place: `query`, `path` or `header`.
        example: a value; None for none.
    """

    name: str
    about: str
    schema: dict[str, Any]
    place: str = "query"
    example: Any = None


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is no error.

    Attributes:
        about: one sentence.
        type: of its content, decoded; None for no content.
        media_type: of its content.
        headers: by name, what each one says.
    """

    about: str
    type: Any = None
    media_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Content:
    """What a request may carry.

    Attributes:
        type: as the route decodes it.
        example: a value that a node accepts.
    """

    type: Any
    example: Any


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path.

    Attributes:
        name: its `operationId`.
        topic: the group that readers find it in.
        summary: a few words.
        about: what the names do not say; may be empty.
        parameters: of the query, the path and the headers.
        content: by media type.
        answers: by status; errors are not among them.
        errors: the statuses of problems that are its own, beside those that every route has.
    """

    name: str
    topic: str
    summary: str
    answers: dict[int, Answer]
    about: str = ""
    parameters: tuple[Parameter, ...] = ()
    content: dict[str, Content] = field(default_factory=dict)
    errors: tuple[int, ...] = ()

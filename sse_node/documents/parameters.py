"""Parameters that several operations have."""

from sse_node.documents.operation import Parameter
from sse_node.documents.refinements import USER

USER_ID = Parameter("userId", "Whose; by default the token's user.", USER, example="ann")
KEY = Parameter(
    "Idempotency-Key",
    "The same key within ten minutes is carried out once.",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
    "header",
)

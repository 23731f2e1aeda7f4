"""How callers authenticate, by the settings of the node."""

from dataclasses import dataclass
from typing import Any, Final

from sse_node.access.credentials import QUERY_PARAMETER
from sse_node.access.rules import Requirement
from sse_node.config.sections import Settings

_BEARER: Final = {
    "type": "http",
    "scheme": "bearer",
    "description": "A token (JWT) of a user, or the API key of a service.",
}


@dataclass(frozen=True, slots=True)
class Security:
    """What a node requires of its callers.

    Attributes:
        needs_token: whether a request without a token or key is rejected.
        cookie: name of the cookie that is accepted; empty to accept no cookie.
        query: whether the query parameter `access_token` is accepted.
        has_public_channels: whether a stream of public channels needs no token.
    """

    needs_token: bool = False
    cookie: str = ""
    query: bool = False
    has_public_channels: bool = False

    def schemes(self) -> dict[str, dict[str, Any]]:
        """Return the accepted credentials by name, as OpenAPI's security schemes."""
        schemes: dict[str, dict[str, Any]] = {"bearer": dict(_BEARER)}
        if self.cookie:
            schemes["cookie"] = {
                "type": "apiKey",
                "in": "cookie",
                "name": self.cookie,
                "description": "A token; from pages of this origin and of `--cors-origin` only.",
            }
        if self.query:
            schemes["query"] = {
                "type": "apiKey",
                "in": "query",
                "name": QUERY_PARAMETER,
                "description": "A token; proxies may keep it in their logs.",
            }
        return schemes

    def of(self, requirement: Requirement) -> list[dict[str, list[str]]]:
        """Return OpenAPI's security requirements: the alternatives, `{}` for no credential."""
        if requirement is Requirement.NOTHING:
            return []
        needed: list[dict[str, list[str]]] = [{name: []} for name in self.schemes()]
        is_public = requirement is Requirement.OWN_STREAM and self.has_public_channels
        return needed if self.needs_token and not is_public else [*needed, {}]


def security_of(settings: Settings) -> Security:
    """Return what a node requires; with `--auth proxy` the proxy authenticates."""
    access, takes_tokens = settings.access, settings.access.auth == "jwt"
    return Security(
        needs_token=takes_tokens,
        cookie=access.auth_cookie if takes_tokens else "",
        query=access.auth_query and takes_tokens,
        has_public_channels=bool(settings.events.public_channels),
    )

"""The routes, one file a noun."""

from typing import Any

from runyard.schemas.problems import ProblemDetails
from runyard.server.errors import MEDIA_TYPE

MEANINGS = {
    400: "Not JSON, or an address with NUL in it",
    401: "Nobody is signed in, or the key is no longer good",
    403: "Not allowed; `hint` says who may",
    404: "No such thing, or nothing that you may know of",
    409: "Not possible now; `hint` says what is",
    413: "Too large",
    415: "Not application/json",
    422: "Fields that can't be used, each with its reason",
    429: "Too much: requests, or what a quota allows; `code` tells which",
    503: "The database does not answer now; the same request may succeed after `Retry-After` seconds",
    507: "No room on the disk",
}

PROBLEM = {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{ProblemDetails.__name__}"}}}
"""Only named here; the application describes it once. A model for each status of each route takes seconds to build."""
RETRY_AFTER = {"description": "Seconds", "schema": {"type": "integer", "minimum": 1}}

Responses = dict[int | str, dict[str, Any]]


def failing(*statuses: int) -> Responses:
    """The errors of a route, for its OpenAPI description."""
    return {
        status: {"description": MEANINGS[status], "content": PROBLEM}
        | ({"headers": {"Retry-After": RETRY_AFTER}} if status == 503 else {})
        for status in statuses
    }


def sending(media_type: str, description: str) -> Responses:
    """A route that answers with something other than JSON."""
    return {200: {"description": description, "content": {media_type: {"schema": {"type": "string"}}}}}

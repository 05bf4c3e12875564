"""The routes, one file a noun."""

from typing import Any

from runyard.schemas.problems import ProblemDetails

MEANINGS = {
    400: "Not JSON",
    404: "No such thing",
    409: "Not possible now; `hint` says what is",
    413: "Too large",
    415: "Not application/json",
    422: "Fields that can't be used, each with its reason",
    429: "As many jobs wait as may, all users' counted together",
    503: "The database does not answer now; the same request may succeed after `Retry-After` seconds",
    507: "No room on the disk",
}

RETRY_AFTER = {"description": "Seconds", "schema": {"type": "integer", "minimum": 1}}

Responses = dict[int | str, dict[str, Any]]


def failing(*statuses: int) -> Responses:
    """The errors of a route, for its OpenAPI description."""
    return {
        status: {"description": MEANINGS[status], "model": ProblemDetails}
        | ({"headers": {"Retry-After": RETRY_AFTER}} if status == 503 else {})
        for status in statuses
    }


def sending(media_type: str, description: str) -> Responses:
    """A route that answers with something other than JSON."""
    return {200: {"description": description, "content": {media_type: {"schema": {"type": "string"}}}}}

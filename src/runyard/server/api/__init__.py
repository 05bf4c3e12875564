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
    429: "The queue is full",
    507: "No room on the disk",
}

Responses = dict[int | str, dict[str, Any]]


def failing(*statuses: int) -> Responses:
    """The errors of a route, for its OpenAPI description."""
    return {status: {"description": MEANINGS[status], "model": ProblemDetails} for status in statuses}


def sending(media_type: str, description: str) -> Responses:
    """A route that answers with something other than JSON."""
    return {200: {"description": description, "content": {media_type: {"schema": {"type": "string"}}}}}

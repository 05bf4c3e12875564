"""The routes, one file a noun."""

from typing import Any

from runyard.schemas.problems import ProblemDetails
from runyard.server.errors import MEDIA_TYPE

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


def failing(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of a route, for its OpenAPI description."""
    schema = {MEDIA_TYPE: {"schema": ProblemDetails.model_json_schema(ref_template="#/components/schemas/{model}")}}
    return {status: {"description": MEANINGS[status], "content": schema} for status in statuses}


def sending(media_type: str, description: str) -> dict[int | str, dict[str, Any]]:
    """A route that answers with something other than JSON."""
    return {200: {"description": description, "content": {media_type: {"schema": {"type": "string"}}}}}

"""The one shape of an error (RFC 9457, application/problem+json)."""

from pydantic import BaseModel

from runyard.protocol.problems import Problem


class ProblemDetails(BaseModel):
    type: str
    """`urn:runyard:problem:CODE`."""
    title: str
    status: int
    detail: str
    code: str
    hint: str | None = None
    problems: list[Problem] = []

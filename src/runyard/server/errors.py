"""Every error in one shape: problem details (RFC 9457)."""

import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from runyard.domain.errors import InvalidError, RunyardError
from runyard.protocol.problems import Problem, problems
from runyard.protocol.specs import SPEC_CLASSES
from runyard.schemas.problems import ProblemDetails

MEDIA_TYPE = "application/problem+json"
MOST_PROBLEMS = 50
HINTS = {
    400: "send a JSON object",
    404: "/api/v1/openapi.json lists what there is",
    405: "/api/v1/openapi.json lists what there is",
    415: "send the job as application/json",
}

log = logging.getLogger(__name__)


class ProblemResponse(JSONResponse):
    media_type = MEDIA_TYPE


def problem_response(
    status: int, code: str, detail: str, *, hint: str | None = None, found: Sequence[Problem] = (), title: str = ""
) -> ProblemResponse:
    if len(found) > MOST_PROBLEMS:
        found = [*found[:MOST_PROBLEMS], Problem(message=f"and {len(found) - MOST_PROBLEMS} more problems")]
    details = ProblemDetails(
        type=f"urn:runyard:problem:{code}",
        title=title or HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        hint=hint,
        problems=list(found),
    )
    return ProblemResponse(details.model_dump(mode="json"), status)


def install(app: FastAPI) -> None:
    app.add_exception_handler(RunyardError, _on_runyard_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, on_anything_else)


def as_response(error: RunyardError) -> ProblemResponse:
    response = problem_response(
        error.status, error.code, error.message, hint=error.hint, found=error.problems, title=error.title
    )
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    return response


async def _on_runyard_error(_: Request, error: Exception) -> ProblemResponse:
    assert isinstance(error, RunyardError)
    return as_response(error)


async def _on_validation_error(_: Request, error: Exception) -> ProblemResponse:
    assert isinstance(error, RequestValidationError)
    if isinstance(error.body, bytes):
        return _plain(415, "the request's content type is not application/json")
    details = error.errors()
    if any(item["type"] == "json_invalid" for item in details):
        reason, place = details[0]["ctx"]["error"], details[0]["loc"][-1]
        return _plain(400, f"the request is not JSON: {reason} at character {place}")
    kind = error.body.get("kind") if isinstance(error.body, dict) else None
    spec_class = SPEC_CLASSES.get(kind) if isinstance(kind, str) else None
    found = problems((_below_place(item) for item in details), spec_class)
    return as_response(InvalidError("the request has fields that can't be used", problems=found))


async def _on_http_exception(_: Request, error: Exception) -> ProblemResponse:
    assert isinstance(error, HTTPException)
    response = _plain(error.status_code, error.detail)
    response.headers.update(error.headers or {})
    return response


async def on_anything_else(request: Request, _: Exception) -> ProblemResponse:
    """The traceback goes to the server's log alone."""
    log.error("%s %s failed", request.method, request.url.path)
    return problem_response(500, "internal_error", "the server has a fault; its log says more")


def _plain(status: int, detail: str) -> ProblemResponse:
    code = HTTPStatus(status).name.lower()
    return problem_response(status, code, detail, hint=HINTS.get(status))


def _below_place(item: Any) -> dict[str, Any]:
    """Pydantic's details without the part of the request they are about."""
    return {**item, "loc": tuple(item["loc"][1:])}

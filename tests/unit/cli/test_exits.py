"""Exit codes that scripts rely on, for every answer of a server."""

import pytest

from runyard.cli.exits import Code, report
from runyard.domain.errors import ForbiddenError, InvalidError
from runyard.protocol.problems import Problem
from runyard.schemas.problems import ProblemDetails
from runyard.sdk.errors import ApiError, ChecksumError


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, 2), (401, 9), (403, 4), (404, 3), (409, 4), (413, 2), (415, 2), (422, 2), (429, 4),
        (500, 8), (502, 8), (507, 4),
    ],
)  # fmt: skip
def test_a_refusal_is_never_taken_for_a_failed_job(status: int, code: int) -> None:
    details = ProblemDetails(type="urn:runyard:problem:no", title="No", status=status, detail="no", code="no")
    assert report(ApiError(status, details)) == code != Code.JOB_FAILED


def test_what_is_refused_without_a_server_ends_alike(capsys: pytest.CaptureFixture[str]) -> None:
    error = InvalidError("no", problems=[Problem(field="name", message="is taken")])
    assert report(error) == Code.BAD_INPUT
    assert report(ForbiddenError("not you", hint="ask anna")) == Code.REFUSED
    assert capsys.readouterr().err == "error: name: is taken\nerror: not you (ask anna)\n"


def test_damaged_files_are_no_bad_input() -> None:
    assert report(ChecksumError("model.zip", ["it is damaged"])) == Code.SERVER_FAILED

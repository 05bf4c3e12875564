"""Exit codes that scripts rely on, for every answer of a server."""

import pytest

from runyard.cli.exits import Code, report
from runyard.schemas.problems import ProblemDetails
from runyard.sdk.errors import ApiError, ChecksumError


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, 2), (403, 4), (404, 3), (409, 4), (413, 2), (415, 2), (422, 2), (429, 4), (500, 8), (502, 8), (507, 4),
    ],
)  # fmt: skip
def test_a_refusal_is_never_taken_for_a_failed_job(status: int, code: int) -> None:
    details = ProblemDetails(type="urn:runyard:problem:no", title="No", status=status, detail="no", code="no")
    assert report(ApiError(status, details)) == code != Code.JOB_FAILED


def test_damaged_files_are_no_bad_input() -> None:
    assert report(ChecksumError("model.zip", ["it is damaged"])) == Code.SERVER_FAILED

"""Jobs by what a person types: an id, the start of one, a name, or `last`."""

from collections.abc import Generator
from typing import Any

from runyard.schemas.jobs import JobDetail, JobRead
from runyard.sdk import calls, listing
from runyard.sdk.errors import AmbiguousError, ApiError, ClientError


def find_job(given: str) -> Generator[calls.Call[Any], Any, JobDetail]:
    """The job with this id, unique beginning of an id, or unique name; `last` is the newest.

    Raises AmbiguousError when several fit, ApiError with status 404 when none does.
    """
    if not given:
        raise ClientError("no job was named", hint="give its id, its name, or `last`")
    if given == "last":
        page = yield from listing.jobs(limit=1)
        return (yield from calls.job(page.items[0].id if page.items else given))
    try:
        return (yield from calls.job(given))
    except ApiError as error:
        if error.status != 404:
            raise
        fitting = yield from _fitting(given)
        if not fitting:
            raise
    if len(fitting) > 1:
        known = ", ".join(job.id for job in fitting[:5])
        raise AmbiguousError(f"{given} fits {len(fitting)} jobs: {known}", hint="give more of the id")
    return (yield from calls.job(fitting[0].id))


def _fitting(given: str) -> Generator[calls.Call[Any], Any, list[JobRead]]:
    fitting: list[JobRead] = []
    cursor: str | None = None
    while True:
        page = yield from listing.jobs(q=given[:200], cursor=cursor, limit=200)
        fitting += [job for job in page.items if job.id.startswith(given) or job.name == given]
        cursor = page.next_cursor
        if cursor is None:
            return fitting

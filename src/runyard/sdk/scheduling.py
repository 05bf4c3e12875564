"""Having a job submitted later, or again and again."""

import json
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

from runyard.protocol.specs import Spec
from runyard.schemas.schedules import ScheduleRead
from runyard.sdk import calls, submission


def schedule_job(
    job: Spec | Path | str | Mapping[str, Any],
    *,
    cron: str | None = None,
    at: str | None = None,
    timezone: str = "UTC",
    name: str | None = None,
) -> Generator[calls.Call[Any], Any, ScheduleRead]:
    """Have a job submitted by a cron line, or once at a time such as 2026-12-01T02:00; its data are uploaded now.

    A second schedule of the same name is refused, unless it asks for the very same: then the first comes back.
    """
    spec = yield from submission.prepared(job)
    fields = json.loads(spec.model_dump_json(exclude_unset=True)) | {"kind": spec.kind}
    given = {"cron": cron, "at": at, "timezone": timezone, "name": name}
    return (yield from calls.post_schedule({"spec": fields} | {k: v for k, v in given.items() if v is not None}))

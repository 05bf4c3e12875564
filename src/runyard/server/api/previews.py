"""What a job would learn from, before it is started."""

from typing import Annotated

from fastapi import APIRouter, Body, Query

from runyard.protocol.specs import JobSpec
from runyard.schemas.previews import Preview
from runyard.server.api import failing, jobs
from runyard.server.deps import ToSubmit
from runyard.services import sources, submissions

router = APIRouter(tags=["jobs"])
LANGUAGE = {name: example for name, example in jobs.EXAMPLES.items() if name != "script"}


@router.post("/previews", operation_id="preview_job", responses=failing(413, 415))
async def show(
    desk: ToSubmit,
    spec: Annotated[JobSpec, Body(openapi_examples=LANGUAGE)],
    count: Annotated[int, Query(ge=1, le=20, description="How many rows.")] = 3,
) -> Preview:
    """The first rows as the model will see them, and which of their tokens are trained. The body is a job, as it would
    be submitted, with data that lie here. It takes some seconds, and several that are asked for wait for each other."""
    submissions.require_storable(spec)
    resolved = await sources.resolve(desk.yard.database, spec, desk.caller, desk.yard.context)
    return Preview.model_validate(await desk.yard.previews.of(spec, resolved.spec, count, desk.caller))

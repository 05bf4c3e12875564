"""What a language model answers to the same prompts as it is trained."""

from typing import Annotated

from fastapi import APIRouter, Query

from runyard.schemas.samples import Samples
from runyard.server.api import failing
from runyard.server.deps import ToSee
from runyard.services import samples

router = APIRouter(tags=["live"])


@router.get("/jobs/{job_id}/samples", operation_id="list_samples", responses=failing(404))
async def show(
    desk: ToSee,
    job_id: str,
    steps: Annotated[
        int, Query(ge=2, le=samples.MOST_STEPS, description="The base model, and so many of the newest, in all.")
    ] = 20,
) -> Samples:
    """Answers to the job's prompts by the base model and at each checkpoint, from the attempt that counts."""
    async with desk.read() as session:
        return Samples.model_validate(await samples.of_job(session, job_id, steps))

"""Files that a job leaves: which there are, and each of them open for a download."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from runyard.db.database import Session
from runyard.db.queries import artifacts as queries
from runyard.db.queries import checkpoints
from runyard.db.tables import Artifact, Checkpoint
from runyard.domain.errors import NotFoundError
from runyard.services import jobs, paths
from runyard.services.context import Context


@dataclass(frozen=True)
class Stored:
    """An artifact and its file, which is the caller's to close."""

    artifact: Artifact
    file: BinaryIO


async def of_job(session: Session, job_id: str) -> Sequence[Artifact]:
    """Raises NotFoundError."""
    return await queries.of_job(session, (await jobs.get(session, job_id)).id)


async def checkpoints_of_job(session: Session, job_id: str) -> Sequence[Checkpoint]:
    """Those that were rotated away, too. Raises NotFoundError."""
    return await checkpoints.of_job(session, (await jobs.get(session, job_id)).id)


async def stored(session: Session, artifact_id: str, context: Context) -> Stored:
    """Raises NotFoundError also when the file is gone, changed, or outside its run folder."""
    artifact = await queries.get(session, artifact_id)
    if artifact is None:
        raise NotFoundError(f"there is no artifact {artifact_id[:100]!r}")
    try:
        file = paths.opened(context.rundir(artifact.job_id).root, artifact.path)
    except FileNotFoundError:
        raise NotFoundError(f"the file {artifact.path} of job {artifact.job_id} is no longer there") from None
    if os.fstat(file.fileno()).st_size != artifact.size_bytes:
        file.close()
        raise NotFoundError(f"the file {artifact.path} of job {artifact.job_id} was changed after it was written")
    return Stored(artifact, file)
